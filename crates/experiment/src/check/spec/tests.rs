use std::path::Path;

use super::*;

/// The error of a spec with these lines at the top and these at the end.
fn error(top: &str, end: &str) -> String {
    match parsed(top, end) {
        Ok(parsed) => match spec(&parsed) {
            Ok(()) => panic!("{top} {end} is accepted"),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    }
}

fn parsed(top: &str, end: &str) -> Result<Spec, ExperimentError> {
    let text = format!(
        "name = \"x\"\ntitle = \"X\"\n{top}\n[data]\nkind = \"testbed\"\n[model]\nkind = \"train\"\n{end}\n"
    );
    Ok(Spec::parse(&text, Path::new("x.toml"), false)?.remove(0))
}

fn check(cases: &[(&str, &str, &[&str])]) {
    spec(&parsed("", "").unwrap()).unwrap();
    for (top, end, expect) in cases {
        let message = error(top, end);
        for part in *expect {
            assert!(
                message.contains(part),
                "{top} {end} lacks {part:?}: {message}"
            );
        }
    }
}

#[test]
fn an_entry_of_an_axis_that_comes_twice_is_refused() {
    check(&[
        (
            "languages = [\"en\", \"fr\", \"en\"]",
            "",
            &["languages", "en is listed twice"],
        ),
        (
            "categories = [\"gender\", \"gender\"]",
            "",
            &["categories", "gender is listed twice"],
        ),
        (
            "spaces = [\"raw\", \"latent\", \"raw\"]",
            "",
            &["spaces", "raw is listed twice"],
        ),
        (
            "reinsert = [\"replace\", \"replace\"]",
            "",
            &["reinsert", "replace is listed twice"],
        ),
        (
            "strengths = [1.0, 0.5, 1.0]",
            "",
            &["strengths", "1 is listed twice"],
        ),
        (
            "",
            "[score]\nscorers = [\"lm-eval\", \"lm-eval\"]",
            &["score.scorers", "lm-eval is listed twice"],
        ),
        // Scored by none, but asked for perplexity.
        ("", "[score]\nscorers = []", &["score.scorers", "lm-eval"]),
        (
            "",
            "[probe]\nkinds = [\"mlp\", \"mlp\"]",
            &["probe.kinds", "mlp is listed twice"],
        ),
        (
            "methods = [{ name = \"inlp\", rank = [2, 2] }]",
            "",
            &["methods[0].rank", "2 is listed twice"],
        ),
        (
            "methods = [{ name = \"inlp\", rank = [1, 2] }, { name = \"inlp\", rank = 2, params = { c = 1.0 } }]",
            "",
            &["methods[1]", "`inlp` with rank 2", "listed twice"],
        ),
        (
            "",
            "[[benchmarks]]\nkind = \"templates\"\n[[benchmarks]]\nkind = \"templates\"",
            &["benchmarks[1]", "listed twice"],
        ),
        (
            "",
            "[[benchmarks]]\nkind = \"seat\"\npath = \"seat\"\ntests.gender = [\"a\", \"a\"]",
            &["benchmarks[0].tests.gender", "a is listed twice"],
        ),
    ]);
}

#[test]
fn one_language_works_in_the_raw_states_alone() {
    let one = "languages = [\"en\"]\n";
    spec(&parsed(&format!("{one}spaces = [\"raw\"]"), "").unwrap()).unwrap();
    check(&[
        ("languages = []", "", &["languages", "at least one"]),
        (
            &format!("{one}spaces = [\"raw\", \"cca\"]"),
            "",
            &["languages", "`cca`", "at least two", "spaces = [\"raw\"]"],
        ),
    ]);
}

#[test]
fn absurd_numbers_are_errors_that_name_key_and_bound() {
    check(&[
        (
            "seed = 9223372036854775807",
            "",
            &["seed", "9007199254740992"],
        ),
        ("strengths = 1e300", "", &["strengths", "1000"]),
        (
            "",
            "[score]\nresamples = 1000000000000",
            &["score.resamples", "1000000000000", "1 to 1000000"],
        ),
        (
            "",
            "[score]\nresamples = 1e12",
            &["resamples", "floating point"],
        ),
        (
            "",
            "[score]\nresamples = 0",
            &["score.resamples", "1000000"],
        ),
        (
            "",
            "[fit]\nmax_tuples = 1000000000000",
            &["fit.max_tuples", "10000000"],
        ),
        (
            "",
            "[probe]\nper_class = 1000000000000",
            &["probe.per_class", "10000000"],
        ),
        (
            "",
            "[autoencoder]\nhidden = 1000000000000",
            &["autoencoder.hidden", "1048576"],
        ),
        (
            "",
            "[autoencoder]\nsteps = 1000000000000",
            &["autoencoder.steps", "100000000"],
        ),
        (
            "",
            "hidden_size = 1000000000000",
            &["model.hidden_size", "65536"],
        ),
        ("", "layers = 1000000000000", &["model.layers", "1000"]),
        (
            "",
            "vocab_size = 1000000000000",
            &["model.vocab_size", "16777216"],
        ),
        (
            "",
            "sentences = 1000000000000",
            &["model.sentences", "1000000000"],
        ),
        ("", "batch = 0", &["model.batch", "1048576"]),
        ("", "heads = 3", &["model.heads", "128", "3 heads"]),
        ("", "kv_heads = 3", &["model.kv_heads", "4 heads"]),
        (
            "",
            "learning_rate = nan",
            &["model.learning_rate", "NaN", "positive"],
        ),
        (
            "",
            "logit_scale = inf",
            &["model.logit_scale", "inf", "positive"],
        ),
    ]);
    for key in [
        "train_rows",
        "validation_rows",
        "heldout_rows",
        "pairs",
        "fit_sentences",
    ] {
        let mut spec = parsed("", "").unwrap();
        let table = format!("kind = \"testbed\"\n{key} = 1000000000000");
        spec.data = toml::from_str(&table).unwrap();
        let message = super::spec(&spec).unwrap_err().to_string();
        assert!(
            message.contains(&format!("data.{key}: 1000000000000")) && message.contains("10000000"),
            "{message}"
        );
    }
}

#[test]
fn parameters_that_a_method_does_not_have_are_refused_before_a_fit() {
    let methods = |params: &str| {
        format!("methods = [{{ name = \"inlp\", rank = 1, params = {{ {params} }} }}]")
    };
    check(&[
        (
            &methods("sea = 1.0"),
            "",
            &["methods[0].params", "`sea`", "rounds", "tolerance"],
        ),
        (
            &methods("c = -1.0"),
            "",
            &["methods[0].params", "`c`", "positive"],
        ),
        (
            &methods("rounds = \"many\""),
            "",
            &["methods[0].params", "`rounds`", "whole number"],
        ),
    ]);
}

#[test]
fn a_method_has_the_size_that_it_takes() {
    let with = |methods: &str| {
        let text = format!("spaces = [\"raw\", \"cca\"]\nmethods = [{methods}]\n");
        spec(&parsed(&text, "").unwrap()).map_err(|e| e.to_string())
    };
    for good in [
        "{ name = \"steering\" }, { name = \"mean-shift\", strength = [0.5, 2.0] }",
        "{ name = \"clamp-units\", units = [1, 4], spaces = [\"raw\"] }",
        "{ name = \"clamp-units\", units = 4, params = { reduce = \"mean\" } }",
        "{ name = \"lape\", units = 4, spaces = [\"raw\"] }, { name = \"language-steering\" }",
        "{ name = \"linear-act\", spaces = [\"raw\"] }",
    ] {
        with(good).unwrap();
    }
    for (bad, key, problem) in [
        (
            "{ name = \"leace\" }",
            "methods[0].rank",
            "such as rank = 1",
        ),
        (
            "{ name = \"leace\", rank = 1, units = 2 }",
            "methods[0].units",
            "its size is its rank",
        ),
        (
            "{ name = \"steering\", rank = 1 }",
            "methods[0].rank",
            "its strength alone",
        ),
        (
            "{ name = \"clamp-units\", spaces = [\"raw\"] }",
            "methods[0].units",
            "such as units = 10",
        ),
        (
            "{ name = \"clamp-units\", units = 0, spaces = [\"raw\"] }",
            "methods[0].units",
            "0 changes nothing",
        ),
        (
            "{ name = \"clamp-units\", units = 4 }",
            "methods[0].spaces",
            "space `cca` has none of",
        ),
        (
            "{ name = \"lape\", units = 4 }",
            "methods[0].spaces",
            "the share of a sentence's tokens",
        ),
        (
            "{ name = \"linear-act\" }",
            "methods[0].spaces",
            "its earlier edits have changed",
        ),
        (
            "{ name = \"language-steering\", languages = [\"all\"] }",
            "methods[0].languages",
            "languages = [\"each\"]",
        ),
        (
            "{ name = \"damp\", units = 4, spaces = [\"raw\"], params = { factor = 2.0 } }",
            "methods[0].params",
            "a number from 0 to 1",
        ),
        (
            "{ name = \"steering\", strength = [] }",
            "methods[0].strength",
            "a number other than 0",
        ),
        (
            "{ name = \"steering\", spaces = [\"lir\"] }",
            "methods[0].spaces",
            "not among the spaces",
        ),
        (
            "{ name = \"steering\", params = { reduce = \"sum\" } }",
            "methods[0].params",
            "mean, last, max or tokens",
        ),
        (
            "{ name = \"steering\" }, { name = \"steering\" }",
            "methods[1]",
            "one vector and the same parameters",
        ),
    ] {
        let error = with(bad).unwrap_err();
        assert!(
            error.starts_with(key) && error.contains(problem),
            "{bad}: {error}"
        );
    }
}
