use super::*;

fn spec(more: &str) -> Spec {
    let text = format!(
        "name = \"x\"\ntitle = \"X\"\n{more}\n[data]\nkind = \"testbed\"\n[model]\nkind = \"train\"\nlayers = 3\n"
    );
    Spec::parse(&text, Path::new("x.toml"), false)
        .unwrap()
        .remove(0)
}

/// A model of so many blocks.
fn model(layers: usize) -> ModelShape {
    ModelShape {
        architecture: "LlamaForCausalLM".into(),
        layers,
        hidden: 8,
        heads: 2,
        kv_heads: 1,
        head_dim: 4,
        intermediate: 12,
        gated: true,
    }
}

#[test]
fn a_star_stands_for_every_layer() {
    let spec = spec("hook = [\"block.*.output\", \"final_norm\"]");
    let (found, each) = places(&spec, Some(&model(3))).unwrap();
    let expect = [
        "block.0.output",
        "block.1.output",
        "block.2.output",
        "final_norm",
    ];
    assert_eq!(found, expect);
    assert!(
        each.iter()
            .enumerate()
            .all(|(at, place)| place.sites == [at])
    );
    assert!(
        places(&spec, None)
            .unwrap_err()
            .to_string()
            .contains("not here yet")
    );
}

#[test]
fn hook_points_with_a_plus_are_one_place_in_the_order_of_the_pass() {
    let spec = spec(
        "hook = [\"block.2.output\", \"block.2.output + block.0.mlp\", \"block.*.units+final_norm\"]",
    );
    let (hooks, found) = places(&spec, Some(&model(3))).unwrap();
    let of = |place: &Place| -> Vec<&str> {
        place
            .sites
            .iter()
            .map(|&site| hooks[site].as_str())
            .collect()
    };
    assert_eq!(of(&found[0]), ["block.2.output"]);
    assert_eq!(of(&found[1]), ["block.0.mlp", "block.2.output"]);
    assert_eq!(found[1].name, "block.0.mlp+block.2.output");
    assert_eq!(
        of(&found[2]),
        [
            "block.0.units",
            "block.1.units",
            "block.2.units",
            "final_norm"
        ]
    );
    // Each is captured once.
    assert_eq!(hooks.len(), 6);
    for (hook, problem) in [
        ("block.0.mlp+block.0.mlp", "`block.0.mlp` is listed twice"),
        ("block.0.mlp+block.7.mlp", "block.7.mlp"),
        ("block.0.mlp+", "hook"),
    ] {
        let spec = self::spec(&format!("hook = \"{hook}\""));
        let error = places(&spec, Some(&model(3))).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn blocks_are_one_place_with_a_short_name() {
    let spec = spec("hook = [\"blocks.*.units\", \"blocks.1-2.output + final_norm\"]");
    let (hooks, found) = places(&spec, Some(&model(3))).unwrap();
    assert_eq!(found[0].name, "blocks.*.units");
    assert_eq!(found[0].sites, [0, 1, 2]);
    assert_eq!(found[1].name, "blocks.1-2.output+final_norm");
    let names: Vec<&str> = found[1].sites.iter().map(|&s| hooks[s].as_str()).collect();
    assert_eq!(names, ["block.1.output", "block.2.output", "final_norm"]);
    for (hook, problem) in [
        ("blocks.1-3.output", "which has 3"),
        ("blocks.2-1.output", "blocks.0-2.PART"),
        ("blocks.x.output", "stands for no blocks"),
        ("blocks.*.nothing", "nothing"),
        (
            "blocks.*.units+block.0.units",
            "`block.0.units` is listed twice",
        ),
    ] {
        let spec = self::spec(&format!("hook = \"{hook}\""));
        let error = places(&spec, Some(&model(3))).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    assert!(places(&spec, None).is_err());
}

#[test]
fn linear_stands_for_every_linear_output_of_the_blocks() {
    let mut model = model(3);
    let spec = spec("hook = \"blocks.1-2.linear\"");
    let (hooks, found) = places(&spec, Some(&model)).unwrap();
    assert_eq!(found[0].name, "blocks.1-2.linear");
    let of = |block| {
        [
            "queries",
            "keys",
            "values",
            "projected",
            "gate",
            "up",
            "down",
        ]
        .map(|part| format!("block.{block}.{part}"))
    };
    let names: Vec<String> = found[0].sites.iter().map(|&s| hooks[s].clone()).collect();
    assert_eq!(names, [of(1), of(2)].concat());
    model.gated = false;
    assert_eq!(places(&spec, Some(&model)).unwrap().0.len(), 12);
    let uncounted = places(&spec, None).unwrap_err().to_string();
    assert!(uncounted.contains("not here yet"), "{uncounted}");
    let twice = self::spec("hook = \"blocks.*.linear + block.0.up\"");
    let twice = places(&twice, Some(&model)).unwrap_err().to_string();
    assert!(twice.contains("`block.0.up` is listed twice"), "{twice}");
}

#[test]
fn every_combination_is_a_setting_and_controls_come_by_themselves() {
    let spec = spec(
        "languages = [\"en\", \"fr\"]\ncategories = [\"gender\"]\nspaces = [\"raw\", \"latent\", \"cca\"]\n\
             hook = [\"block.0.output\", \"final_norm\"]\nstrengths = [0.5, 1.0]\n\
             methods = [{ name = \"sentdebias\", rank = [1, 4] }, { name = \"leace\", rank = 1 }]",
    );
    let all = settings(&spec, &places(&spec, Some(&model(3))).unwrap().1);
    let count = |method: &str| all.iter().filter(|s| s.in_rows() == method).count();
    assert_eq!(count("none"), 1);
    // hook points × ranks × strengths × languages × spaces
    assert_eq!(count("sentdebias"), 2 * 2 * 2 * 2 * 3);
    assert_eq!(count("leace"), 2 * 2 * 2 * 3);
    assert_eq!(count("sentdebias:shuffled"), count("sentdebias"));
    // hook points × different ranks × strengths × spaces
    assert_eq!(count("random"), 2 * 2 * 2 * 3);
    // Every edit has one control of either kind in its place.
    for setting in all.iter().filter(|s| s.role == Role::Method) {
        let names = setting.controls().map(|control| {
            assert_eq!(all.iter().filter(|s| **s == control).count(), 1);
            control.in_rows()
        });
        assert_eq!(
            names,
            [format!("{}:shuffled", setting.in_rows()), "random".into()]
        );
    }
    assert_eq!(count("autoencoder-only"), 2);
    let mut distinct: Vec<String> = all.iter().map(|s| format!("{s:?}")).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), all.len());
}

/// The rank of a row is what is removed, so that its random control removes as much.
#[test]
fn a_rank_of_each_language_adds_up() {
    let spec = spec(
        "languages = [\"en\", \"fr\", \"de\"]\ncategories = [\"gender\"]\nspaces = [\"raw\"]\n\
             methods = [{ name = \"imsae\", rank = 2, languages = [\"each\", \"all\", \"all-but-one\"] }, \
             { name = \"leace\", rank = 1 }]",
    );
    let all = settings(&spec, &places(&spec, Some(&model(3))).unwrap().1);
    for setting in all.iter().filter(|s| s.in_rows() == "imsae") {
        let languages = match setting.fit_language {
            Some(FitOn::One(_)) => 1,
            Some(FitOn::All) => 3,
            _ => 2,
        };
        assert_eq!(setting.rank(), Some(2 * languages));
        assert!(
            setting
                .controls()
                .iter()
                .all(|control| all.contains(control))
        );
    }
    let count = |method: &str| all.iter().filter(|s| s.in_rows() == method).count();
    assert_eq!((count("imsae"), count("leace")), (3 + 1 + 3, 3));
}

#[test]
fn several_random_subspaces_are_settings_of_their_own() {
    let text = "categories = [\"gender\"]\nspaces = [\"raw\", \"cca\"]\nrandom_draws = 3\n\
                methods = [{ name = \"leace\", rank = 1 }]";
    let three = spec(text);
    check::spec(&three).unwrap();
    let all = settings(&three, &places(&three, Some(&model(3))).unwrap().1);
    let random: Vec<&Setting> = all.iter().filter(|s| s.in_rows() == "random").collect();
    assert_eq!(random.len(), 3 * 2);
    assert_eq!(
        random.iter().map(|s| s.draw).collect::<Vec<_>>(),
        [0, 1, 2, 0, 1, 2]
    );
    let method = all.iter().find(|s| s.role == Role::Method).unwrap();
    // The matched control is the first draw.
    assert!(all.contains(&method.controls()[1]));
    assert_eq!(method.controls()[1].draw, 0);

    let none = spec("random_draws = 0");
    let error = check::spec(&none).unwrap_err().to_string();
    assert!(error.contains("random_draws"), "{error}");
}

#[test]
fn controls_match_the_kind_of_the_edit() {
    let spec = spec(
        "languages = [\"en\", \"fr\"]\ncategories = [\"gender\"]\nspaces = [\"raw\", \"cca\"]\nstrengths = 0.5\n\
             methods = [{ name = \"steering\", strength = [1.0, 2.0] }, { name = \"leace\", rank = 1 }, \
             { name = \"clamp-units\", units = [3, 5], spaces = [\"raw\"] }]",
    );
    check::spec(&spec).unwrap();
    let all = settings(&spec, &places(&spec, Some(&model(3))).unwrap().1);
    let count = |method: &str| all.iter().filter(|s| s.in_rows() == method).count();
    // strengths × fit languages × spaces
    assert_eq!(count("steering"), 2 * 2 * 2);
    assert_eq!(count("steering:random"), count("steering"));
    // sizes × fit languages
    assert_eq!(count("clamp-units"), 2 * 2);
    assert_eq!(count("clamp-units:random"), count("clamp-units"));
    assert_eq!(count("leace"), 2 * 2);
    // Only where a method of a rank is: at strength 0.5.
    assert_eq!(count("random"), 2);
    for setting in all.iter().filter(|s| s.role == Role::Method) {
        for control in setting.controls() {
            assert_eq!(
                all.iter().filter(|s| **s == control).count(),
                1,
                "{control:?}"
            );
        }
    }
    let extents: Vec<String> = ["steering", "leace", "clamp-units"]
        .map(|name| all.iter().find(|s| s.in_rows() == name).unwrap())
        .iter()
        .map(|s| s.extent.unwrap().to_string())
        .collect();
    assert_eq!(extents, ["one vector", "rank 1", "3 units"]);
}

#[test]
fn methods_are_fitted_in_the_languages_that_are_asked_for() {
    let with = |languages: &str, fits: &str| {
        spec(&format!(
            "languages = [{languages}]\ncategories = [\"gender\"]\nspaces = [\"raw\"]\nfit.languages = [{fits}]"
        ))
    };
    let three = with("\"en\", \"fr\", \"de\"", "\"all\", \"all-but-one\"");
    check::spec(&three).unwrap();
    let mut fits: Vec<String> = settings(&three, &places(&three, Some(&model(3))).unwrap().1)
        .iter()
        .filter(|s| s.in_rows() == "sentdebias")
        .map(|s| s.fit_language.unwrap().to_string())
        .collect();
    fits.sort();
    assert_eq!(fits, ["all", "all-but-de", "all-but-en", "all-but-fr"]);
    for (languages, fits, problem) in [
        (
            "\"en\", \"fr\"",
            "\"all-but-one\"",
            "at least three languages",
        ),
        ("\"en\", \"fr\"", "\"all\", \"all\"", "all is listed twice"),
        ("\"en\", \"fr\"", "", "`each`, `all` and `all-but-one`"),
    ] {
        let error = check::spec(&with(languages, fits)).unwrap_err().to_string();
        assert!(
            error.starts_with("fit.languages") && error.contains(problem),
            "{error}"
        );
    }
}
