use super::*;

#[test]
fn names_of_the_hub() {
    for (text, expect) in [
        (
            "CohereLabs/aya-expanse-8b",
            Some(("CohereLabs/aya-expanse-8b", "main")),
        ),
        ("a/b.c_d@v1.0", Some(("a/b.c_d", "v1.0"))),
        ("a/b@refs/pr/1", Some(("a/b", "refs/pr/1"))),
        ("a", None),
        ("a/b/c", None),
        ("./b", None),
        ("../b", None),
        ("/a/b", None),
        ("a/", None),
        ("/b", None),
        ("a/b--c", None),
        ("a/b@", None),
        ("a/b@../x", None),
        ("a/b@x/../y", None),
        ("a/b@/x", None),
        ("a/b@x y", None),
        ("a/b@x?y", None),
        ("a/b@x@y", None),
        ("a/ü", None),
    ] {
        let name = HubName::parse(text);
        let found = name
            .as_ref()
            .map(|n| (n.repo.as_str(), n.revision.as_str()));
        assert_eq!(found, expect, "{text}");
    }
}

#[test]
fn folders_go_before_the_hub() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path();
    for folder in ["own/exact", "short", "broken"] {
        std::fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    for folder in ["own/exact", "short"] {
        std::fs::write(root.join(folder).join(CONFIG), "{}").expect("a file");
    }
    let hub = |text: &str| Place::Hub(HubName::parse(text).expect("a name"));
    for (name, expect) in [
        ("own/exact", Place::Local(root.join("own/exact"))),
        ("own/short", Place::Local(root.join("short"))),
        ("short", Place::Local(root.join("short"))),
        ("own/short@main", hub("own/short@main")),
        ("own/other", hub("own/other")),
    ] {
        assert_eq!(locate(name, Some(root)).expect(name), expect);
    }
    let given = root.join("short");
    let given = given.to_str().expect("UTF-8");
    assert_eq!(
        locate(given, None).expect("a folder"),
        Place::Local(given.into())
    );
    for (name, expect) in [
        ("broken", "no `config.json`"),
        ("none", "it holds broken, own, short"),
    ] {
        let error = locate(name, Some(root)).expect_err(name).to_string();
        assert!(error.contains(expect), "{error}");
    }
}

#[test]
fn a_shard_stays_in_the_folder() {
    let name = HubName::parse("a/b").expect("a name");
    let read = |shard: &str| {
        let index = serde_json::json!({"weight_map": {"x": shard}}).to_string();
        shards(&name, "0", &index)
    };
    assert_eq!(read("m-1.safetensors").expect("a shard").len(), 1);
    for shard in [
        "../m.safetensors",
        "/m.safetensors",
        "a/m.safetensors",
        ".safetensors",
        "m.bin",
        "",
    ] {
        let error = read(shard).expect_err(shard).to_string();
        assert!(error.contains("inside the folder"), "{error}");
    }
    for index in [
        "{",
        "[]",
        "{\"weight_map\": {}}",
        "{\"weight_map\": {\"x\": 1}}",
    ] {
        assert!(shards(&name, "0", index).is_err(), "{index}");
    }
}
