//! Names of the hub, against a hub and a storage on this machine.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use interlingua_models::ModelError;
use interlingua_models::hub::{
    HubName, HubOptions, Place, Resolved, Source, Token, fetch, locate, resolve, survey,
};
use interlingua_tests::fixtures;
use interlingua_tests::hub::{COMMIT, Files, Hub, REPO, files_in, sha256};
use interlingua_tests::server::{Answer, Request, Server};
use tempfile::TempDir;

const SECRET: &str = "hf_secret";
const SHARD: &str = "model-00001-of-00002.safetensors";

/// A checkpoint in two shards, and things that nobody needs.
fn sharded() -> Files {
    let mut files = files_in(&fixtures().join("models/cohere-bf16-sharded"));
    for name in ["tokenizer_config.json", "generation_config.json"] {
        files.insert(name.into(), format!("{{\"of\": \"{name}\"}}").into());
    }
    for name in [
        "README.md",
        "pytorch_model.bin",
        "tf_model.h5",
        "tokenizer.model",
    ] {
        files.insert(name.into(), b"not wanted".into());
    }
    files
}

fn without(names: &[&str]) -> Files {
    let mut files = sharded();
    files.retain(|name, _| !names.contains(&name.as_str()));
    files
}

struct Home {
    folder: TempDir,
    options: HubOptions,
}

impl Home {
    fn new(hub: &Hub) -> Home {
        let folder = tempfile::tempdir().expect("a folder");
        let options = HubOptions {
            endpoint: hub.server.url().to_owned(),
            cache: folder.path().join("hub"),
            token: Token::new(SECRET),
            offline: false,
            attempts: 3,
            first_wait: Duration::from_millis(1),
            patience: Duration::from_secs(60),
        };
        Home { folder, options }
    }

    fn root(&self) -> PathBuf {
        self.options.cache.join("models--own--tiny")
    }

    fn fetch(&self, revision: &str) -> Result<Resolved, ModelError> {
        fetch(&name(revision), &self.options, &mut |_| {})
    }

    /// The parts of the message that a user must find; never the token, nor a link with a signature.
    fn refuse(&self, revision: &str, expect: &[&str]) {
        let error = self.fetch(revision).expect_err("an error");
        let texts = format!("{error} {error:?}");
        for part in expect {
            assert!(texts.contains(part), "lacks {part:?}: {texts}");
        }
        assert!(!texts.contains("secret"), "{texts}");
    }

    fn offline(&self) -> Home {
        Home {
            folder: tempfile::tempdir().expect("a folder"),
            options: HubOptions {
                offline: true,
                endpoint: Server::none(),
                ..self.options.clone()
            },
        }
    }
}

fn name(revision: &str) -> HubName {
    HubName::parse(&format!("{REPO}@{revision}")).expect("a name")
}

fn same_content(folder: &Path, files: &Files, names: &[&str]) {
    for name in names {
        let found = std::fs::read(folder.join(name)).expect(name);
        assert!(found == files[*name], "{name} has other bytes");
    }
}

/// GET requests for a file of the storage.
fn gets(hub: &Hub, content: &[u8]) -> Vec<Request> {
    let hash = sha256(content);
    let mut seen = hub.storage.seen();
    seen.retain(|r| r.path.contains(&hash));
    seen
}

fn get_of(request: &Request, part: &str) -> bool {
    request.method == "GET" && request.path.contains(part)
}

#[test]
fn a_name_becomes_a_snapshot() {
    let files = sharded();
    let hub = Hub::new(files.clone());
    let home = Home::new(&hub);
    let empty = home.folder.path().join("models");

    let before = survey(&name("main"), &home.options).expect("a survey");
    assert_eq!(before.commit, COMMIT);
    assert_eq!(before.missing.len(), 7);
    assert!(!home.options.cache.exists(), "a survey writes nothing");

    let steps = Mutex::new(Vec::new());
    let resolved = resolve(REPO, Some(&empty), &home.options, &mut |p| {
        steps
            .lock()
            .expect("steps")
            .push((p.index, p.received, p.total));
    })
    .expect("a model");
    let folder = home.root().join("snapshots").join(COMMIT);
    assert_eq!(resolved.folder, folder);
    assert_eq!(
        resolved.source,
        Source::Hub {
            repo: REPO.into(),
            revision: "main".into(),
            commit: COMMIT.into()
        }
    );

    let wanted = [
        "config.json",
        "generation_config.json",
        SHARD,
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    same_content(&folder, &files, &wanted);
    let here: Vec<String> = files_in(&folder).into_keys().collect();
    assert_eq!(here, wanted);
    let mut planned: Vec<String> = before.missing.into_iter().map(|m| m.0).collect();
    planned.sort();
    assert_eq!(planned, wanted);

    // As Python has it: links into blobs that are named by their ETag, and the commit under refs.
    let link = std::fs::read_link(folder.join(SHARD)).expect("a link");
    assert_eq!(link, Path::new("../../blobs").join(sha256(&files[SHARD])));
    let link = std::fs::read_link(folder.join("config.json")).expect("a link");
    let hash = sha256(&files["config.json"]);
    assert_eq!(link, Path::new("../../blobs").join(&hash[..40]));
    let main = std::fs::read_to_string(home.root().join("refs/main"));
    assert_eq!(main.expect("a ref"), COMMIT);
    assert_eq!(files_in(&home.root().join("blobs")).len(), wanted.len());

    let steps = steps.into_inner().expect("steps");
    let bytes: usize = wanted.iter().map(|name| files[*name].len()).sum();
    assert_eq!(steps.last(), Some(&(6, bytes as u64, bytes as u64)));
    assert!(
        steps
            .windows(2)
            .all(|s| s[0].0 <= s[1].0 && s[0].1 <= s[1].1)
    );

    interlingua_models::Model::open(
        &folder,
        &interlingua_backend::device::cpu(),
        interlingua_models::Residency::Stream,
    )
    .expect("a model");

    // The token goes to the hub, always, and to nobody else.
    let bearer = format!("Bearer {SECRET}");
    for request in hub.server.seen() {
        assert_eq!(
            request.header("authorization"),
            Some(bearer.as_str()),
            "{request:?}"
        );
    }
    assert_eq!(hub.storage.seen().len(), 2);
    for request in hub.storage.seen() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
}

#[test]
fn what_is_in_the_cache_needs_no_connection() {
    let hub = Hub::new(sharded());
    let home = Home::new(&hub);
    let first = home.fetch("main").expect("a model");
    let requests = hub.server.seen().len();
    // A branch may have moved, so the hub is asked for its commit; nothing is fetched again.
    assert_eq!(home.fetch("main").expect("a model"), first);
    assert!(hub.server.seen().len() > requests);
    assert_eq!(hub.storage.seen().len(), 2);
    let requests = hub.server.seen().len();
    assert_eq!(home.fetch(COMMIT).expect("a model").folder, first.folder);
    assert_eq!(home.offline().fetch("main").expect("a model"), first);
    assert_eq!(
        home.offline().fetch(COMMIT).expect("a model").folder,
        first.folder
    );
    let survey = survey(&name(COMMIT), &home.options).expect("a survey");
    assert_eq!((survey.folder, survey.missing), (first.folder, Vec::new()));
    assert_eq!(hub.server.seen().len(), requests, "the cache was enough");
}

#[test]
fn offline_says_what_is_missing() {
    let hub = Hub::new(sharded());
    let home = Home::new(&hub);
    let offline = home.offline();
    let cure = [
        "unset HF_HUB_OFFLINE",
        "hf download own/tiny --revision",
        "HF_HUB_CACHE",
    ];
    offline.refuse("main", &["this revision is not known"]);
    offline.refuse("main", &cure);
    offline.refuse(
        COMMIT,
        &["config.json, tokenizer.json, model.safetensors missing"],
    );
    let resolved = home.fetch("v1").expect("a model");
    offline.refuse("main", &["this revision is not known"]);
    std::fs::remove_file(resolved.folder.join(SHARD)).expect("a file");
    for revision in ["v1", COMMIT] {
        offline.refuse(revision, &[SHARD, "missing"]);
        offline.refuse(revision, &cure);
    }
    assert!(
        offline
            .folder
            .path()
            .read_dir()
            .expect("a folder")
            .next()
            .is_none()
    );
    // The blob is still there, so that nothing but the link is made again.
    home.fetch(COMMIT).expect("a model");
    assert_eq!(hub.storage.seen().len(), 2);
    offline.fetch("v1").expect("a model");
}

#[test]
fn branches_tags_and_commits() {
    let hub = Hub::new(sharded());
    for revision in ["main", "v1", "refs/pr/1", COMMIT] {
        let home = Home::new(&hub);
        let resolved = home.fetch(revision).expect(revision);
        let source = Source::Hub {
            repo: REPO.into(),
            revision: revision.into(),
            commit: COMMIT.into(),
        };
        assert_eq!(resolved.source, source);
        let noted = home.root().join("refs").join(revision).is_file();
        assert_eq!(noted, revision != COMMIT);
        home.offline().fetch(revision).expect(revision);
    }
    let home = Home::new(&hub);
    home.refuse("v2", &["HubRevision", "no branch, tag or commit `v2`"]);
    home.refuse(&COMMIT.replace('0', "f"), &["HubRevision"]);
}

/// Bytes that come one by one keep a connection alive for ever.
#[test]
fn a_hub_that_hardly_sends_is_given_up() {
    let pause = Duration::from_millis(20);
    for part in ["/storage/", "/api/"] {
        let hub = Hub::with_trouble(sharded(), move |request, _, answer| {
            match get_of(request, part) {
                true => answer.slow(pause),
                false => answer,
            }
        });
        let mut home = Home::new(&hub);
        home.options.patience = Duration::from_millis(300);
        let start = std::time::Instant::now();
        home.refuse("main", &["HubNetwork", "bytes came in 0.3 s"]);
        assert!(start.elapsed() < Duration::from_secs(20), "{part}");
    }
}

#[test]
fn a_broken_transfer_goes_on_where_it_ended() {
    let files = sharded();
    let hub = Hub::with_trouble(files.clone(), |request, earlier, answer| {
        // More often than a request is tried: an attempt that gets further does not count.
        if get_of(request, "/storage/") && earlier < 6 {
            return answer.cut(700);
        }
        answer
    });
    let home = Home::new(&hub);
    let resolved = home.fetch("main").expect("a model");
    same_content(&resolved.folder, &files, &[SHARD]);
    let ranges: Vec<Option<String>> = gets(&hub, &files[SHARD])
        .iter()
        .map(|r| r.header("range").map(str::to_owned))
        .collect();
    let mut expect = vec![None];
    expect.extend((1..=6).map(|part| Some(format!("bytes={}-", 700 * part))));
    assert_eq!(ranges, expect);
}

#[test]
fn what_a_killed_download_left_is_used() {
    let files = sharded();
    let hub = Hub::new(files.clone());
    let home = Home::new(&hub);
    let blobs = home.root().join("blobs");
    let part = blobs.join(format!("{}.incomplete", sha256(&files[SHARD])));
    for (left, range) in [
        (&files[SHARD][..999], Some("bytes=999-")),
        (&files[SHARD][..], None),
    ] {
        let _ = std::fs::remove_dir_all(&home.options.cache);
        std::fs::create_dir_all(&blobs).expect("a folder");
        std::fs::write(&part, left).expect("a file");
        let before = gets(&hub, &files[SHARD]).len();
        let resolved = home.fetch("main").expect("a model");
        same_content(&resolved.folder, &files, &[SHARD]);
        let requests = gets(&hub, &files[SHARD]);
        let new: Vec<Option<&str>> = requests[before..]
            .iter()
            .map(|r| r.header("range"))
            .collect();
        let expect: Vec<Option<&str>> = range.map(Some).into_iter().collect();
        assert_eq!(new, expect);
        assert!(!part.exists());
    }
    // Something else under that name: longer, or other bytes.
    for left in [
        vec![7; files[SHARD].len() + 1],
        vec![7; 999],
        vec![7; files[SHARD].len()],
    ] {
        std::fs::remove_dir_all(&home.options.cache).expect("a folder");
        std::fs::create_dir_all(&blobs).expect("a folder");
        std::fs::write(&part, left).expect("a file");
        let resolved = home.fetch("main").expect("a model");
        same_content(&resolved.folder, &files, &[SHARD]);
    }
}

#[test]
fn servers_that_do_not_know_ranges() {
    let files = sharded();
    let content = files[SHARD].clone();
    let whole = move |request: &Request, earlier: usize, answer: Answer| {
        if !request.path.contains(&sha256(&content)) {
            return answer;
        }
        match earlier {
            0 => answer.cut(500),
            // The whole again, and then a part that was not asked for.
            1 => Answer::new(200, content.clone()).cut(400),
            2 => Answer::new(206, &content[9..])
                .with("Content-Range", &format!("bytes 9-{}/{0}", content.len())),
            _ => answer,
        }
    };
    let hub = Hub::with_trouble(files.clone(), whole);
    let mut home = Home::new(&hub);
    home.options.attempts = 5;
    let resolved = home.fetch("main").expect("a model");
    same_content(&resolved.folder, &files, &[SHARD]);
    assert_eq!(gets(&hub, &files[SHARD]).len(), 4);
}

#[test]
fn a_busy_hub_is_asked_again() {
    for status in [429, 500, 503] {
        let busy = move |_: &Request, earlier: usize, answer: Answer| match earlier {
            0 | 1 => Answer::new(status, "busy"),
            _ => answer,
        };
        let hub = Hub::with_trouble(sharded(), busy);
        let mut home = Home::new(&hub);
        // A file's request and its redirect are busy twice each.
        home.options.attempts = 5;
        home.fetch("main").expect("a model");
    }
    let hub = Hub::with_trouble(sharded(), |_, _, _| Answer::new(503, "busy"));
    let home = Home::new(&hub);
    home.refuse("main", &["HubStatus", "status 503", "try again later"]);
    assert_eq!(hub.server.seen().len(), 3);
    // What is sure not to change is asked once.
    let hub = Hub::with_trouble(sharded(), |_, _, _| Answer::new(400, "no"));
    Home::new(&hub).refuse("main", &["status 400"]);
    assert_eq!(hub.server.seen().len(), 1);
}

#[test]
fn a_storage_link_that_expired_is_renewed() {
    let files = sharded();
    let hub = Hub::with_trouble(files.clone(), |request, earlier, answer| {
        if get_of(request, "/storage/") && earlier == 0 {
            return Answer::new(403, "expired");
        }
        answer
    });
    let home = Home::new(&hub);
    let resolved = home.fetch("main").expect("a model");
    same_content(&resolved.folder, &files, &[SHARD]);
}

#[test]
fn a_file_that_always_breaks_off_is_an_error_and_stays() {
    let files = sharded();
    let content = files[SHARD].clone();
    let hub = Hub::with_trouble(files.clone(), move |request, earlier, answer| {
        if !get_of(request, &sha256(&content)) {
            return answer;
        }
        match earlier {
            0 => answer.cut(600),
            1..=2 => answer.cut(0),
            _ => answer,
        }
    });
    let mut home = Home::new(&hub);
    home.options.attempts = 2;
    let expected = files[SHARD].len();
    home.refuse(
        "main",
        &[
            "HubTruncated",
            SHARD,
            &format!("600 of {expected}"),
            "run again",
        ],
    );
    let part = home
        .root()
        .join("blobs")
        .join(format!("{}.incomplete", sha256(&files[SHARD])));
    assert_eq!(std::fs::metadata(part).expect("a file").len(), 600);
    assert!(!home.root().join("refs/main").exists(), "not complete");
    let resolved = home.fetch("main").expect("a model");
    same_content(&resolved.folder, &files, &[SHARD]);
    assert_eq!(
        gets(&hub, &files[SHARD])[3].header("range"),
        Some("bytes=600-")
    );
}

#[test]
fn other_bytes_are_noticed() {
    let files = sharded();
    let other = |content: &[u8]| {
        let mut other = content.to_vec();
        other[100] ^= 1;
        other
    };
    let changed = other(&files[SHARD]);
    let hash = sha256(&files[SHARD]);
    for (times, error) in [(2, false), (9, true)] {
        let (changed, hash) = (changed.clone(), hash.clone());
        let hub = Hub::with_trouble(files.clone(), move |request, earlier, answer| {
            if get_of(request, &hash) && earlier < times {
                return Answer::content(&changed, request);
            }
            answer
        });
        let home = Home::new(&hub);
        if error {
            home.refuse(
                "main",
                &["HubHash", SHARD, &sha256(&files[SHARD]), "run again"],
            );
            let blobs: Vec<String> = files_in(&home.root().join("blobs")).into_keys().collect();
            assert!(
                !blobs.iter().any(|b| b.starts_with(&sha256(&files[SHARD]))),
                "{blobs:?}"
            );
        } else {
            same_content(
                &home.fetch("main").expect("a model").folder,
                &files,
                &[SHARD],
            );
        }
    }
    // Longer than announced, and another length than announced.
    for (name, expect) in [("long", "more than the"), ("length", "the hub announced")] {
        let hash = sha256(&files[SHARD]);
        let content = files[SHARD].clone();
        let hub = Hub::with_trouble(files.clone(), move |request, _, answer| {
            if !get_of(request, &hash) {
                return answer;
            }
            let longer = [content.as_slice(), b"more"].concat();
            match name {
                // Without a length, the body ends with the connection.
                "long" => Answer::new(200, longer).with("Content-Length", ""),
                _ => Answer::new(200, longer),
            }
        });
        Home::new(&hub).refuse("main", &["HubAnswer", SHARD, expect]);
    }
}

#[test]
fn gated_private_and_missing() {
    let closed = |status: u16, code: &'static str, part: &'static str| {
        Hub::with_trouble(sharded(), move |request, _, answer| {
            if request.path.contains(part) {
                return Answer::new(status, "no").with("X-Error-Code", code);
            }
            answer
        })
    };
    let cure = ["accept the licence at", "/own/tiny", "HF_TOKEN"];
    for status in [401, 403] {
        let hub = closed(status, "GatedRepo", "/resolve/");
        let mut home = Home::new(&hub);
        home.refuse(
            "main",
            &["HubAccess", &format!("status {status}"), "does not open it"],
        );
        home.refuse("main", &cure);
        home.options.token = None;
        home.refuse("main", &["no token was sent"]);
        home.refuse("main", &cure);
        let asked = hub.server.seen();
        assert!(
            asked
                .last()
                .expect("a request")
                .header("authorization")
                .is_none()
        );
        assert!(hub.storage.seen().is_empty());
        assert!(
            survey(&name("main"), &home.options).is_err(),
            "seen before anything is fetched"
        );
    }
    for (status, code) in [(401, "RepoNotFound"), (404, "RepoNotFound"), (404, "")] {
        let home = Home::new(&closed(status, code, "/api/"));
        let cure = [
            "own/tiny",
            "does not exist or is private",
            "check the name",
            "HF_TOKEN",
        ];
        home.refuse("main", &["HubNotFound"]);
        home.refuse("main", &cure);
    }
}

#[test]
fn repositories_without_a_usable_checkpoint() {
    let shards = [SHARD, "model-00002-of-00002.safetensors"];
    let index = "model.safetensors.index.json";
    let with = |name: &str, content: &str| {
        let mut files = sharded();
        files.insert(name.into(), content.into());
        files
    };
    for (files, expect) in [
        (without(&["config.json"]), "no config.json"),
        (
            without(&["tokenizer.json", "tokenizer.model"]),
            "AutoTokenizer.from_pretrained",
        ),
        (without(&[index]), "pytorch_model.bin only"),
        (
            without(&[index]),
            "AutoModelForCausalLM.from_pretrained(\"own/tiny\").save_pretrained",
        ),
        (
            without(&[index, "pytorch_model.bin"]),
            "no model.safetensors",
        ),
        (without(&shards), "which is not there"),
        (
            with(index, r#"{"weight_map": {"x": "../../config.json"}}"#),
            "inside the folder",
        ),
        (
            with(index, r#"{"weight_map": {"x": "/etc/x.safetensors"}}"#),
            "inside the folder",
        ),
        (with(index, "{"), "model.safetensors.index.json"),
    ] {
        let hub = Hub::new(files);
        let home = Home::new(&hub);
        home.refuse("main", &["HubRepository", COMMIT, expect]);
        assert!(!home.root().exists(), "nothing is fetched: {expect}");
    }
}

#[test]
fn sentencepiece_alone_is_fetched_and_explained() {
    let hub = Hub::new(without(&["tokenizer.json"]));
    let home = Home::new(&hub);
    for home in [&home, &home.offline()] {
        let folder = home.fetch("main").expect("a folder").folder;
        let device = interlingua_backend::device::cpu();
        let opened = interlingua_models::Model::open(
            &folder,
            &device,
            interlingua_models::Residency::Stream,
        );
        let error = opened.err().expect("an error").to_string();
        assert!(error.contains("save_pretrained"), "{error}");
    }
}

#[test]
fn answers_that_no_hub_gives() {
    let hub = |part: &'static str, other: Answer| {
        Hub::with_trouble(sharded(), move |request, _, answer| {
            if request.path.contains(part) {
                other.clone()
            } else {
                answer
            }
        })
    };
    let info = |sha: &str| Answer::new(200, format!(r#"{{"sha": "{sha}", "siblings": []}}"#));
    for (part, other, expect) in [
        (
            "/api/models/",
            Answer::new(200, "<html>"),
            "check HF_ENDPOINT",
        ),
        ("/api/models/", info("main"), "not the commit"),
        ("/api/models/", info("../../x"), "not the commit"),
        (
            "/api/models/",
            Answer::redirect(302, "/api/models/again"),
            "redirects lead nowhere",
        ),
        ("/config.json", Answer::new(200, "{}"), "no ETag"),
        (
            "/config.json",
            Answer::new(200, "{}").with("ETag", "\"../../../x\""),
            "no plain name",
        ),
        (
            SHARD,
            Answer::redirect(302, "ftp://x/y").with("X-Linked-Etag", "e"),
            "no plain",
        ),
    ] {
        let hub = hub(part, other);
        let home = Home::new(&hub);
        if part != SHARD {
            home.refuse("main", &["HubAnswer", expect]);
        } else {
            assert!(home.fetch("main").is_err());
        }
    }
    let mut home = Home::new(&hub("none", Answer::new(200, "")));
    home.options.endpoint = Server::none();
    home.refuse(
        "main",
        &["HubNetwork", "check the network", "HF_HUB_OFFLINE=1"],
    );
    home.options.token = Token::new("two\nlines");
    home.refuse("main", &["HF_TOKEN", "characters"]);
}

#[test]
fn two_at_once_fetch_everything_once() {
    let files = sharded();
    let hub = Hub::with_trouble(files.clone(), |_, _, answer| {
        // Long enough for the two to meet; nothing is asserted on it.
        std::thread::sleep(Duration::from_millis(5));
        answer
    });
    let home = Home::new(&hub);
    std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| home.fetch("main"))).collect();
        for one in both {
            let folder = one.join().expect("no panic").expect("a model").folder;
            same_content(&folder, &files, &["config.json", "tokenizer.json", SHARD]);
        }
    });
    assert_eq!(gets(&hub, &files[SHARD]).len(), 1);
}

#[test]
fn a_folder_needs_no_hub() {
    let fixture = fixtures().join("models");
    let hub = Hub::new(Files::new());
    let home = Home::new(&hub);
    let resolved = resolve("own/cohere-f32", Some(&fixture), &home.options, &mut |_| {});
    let resolved = resolved.expect("a folder");
    assert_eq!(resolved.source, Source::Local);
    assert_eq!(resolved.folder, fixture.join("cohere-f32"));
    assert!(hub.server.seen().is_empty());
    let pinned = locate("own/cohere-f32@v1", Some(&fixture)).expect("a place");
    assert!(matches!(pinned, Place::Hub(name) if name.revision == "v1"));
}
