use super::*;

fn render(source: &str) -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models/cohere-f32");
    let tokenizer = Tokenizer::open(&path, 1 << 20).unwrap();
    let template = ChatTemplate::new(Path::new("x.gguf"), source.to_owned()).unwrap();
    let message = |role: &str, content: &str| Message {
        role: role.into(),
        content: content.into(),
    };
    let messages = [
        message("system", "Be brief."),
        message("user", " Grüße <&> "),
    ];
    let shown = template.render(&messages, true, &tokenizer);
    shown.map_err(|e| e.to_string())
}

#[test]
fn templates_are_rendered_as_in_transformers() {
    let cases = [
        ("{{ messages[1]['content'] }}|", " Grüße <&> |"),
        ("{{ messages[1].content | trim }}", "Grüße <&>"),
        ("{{ messages[1].content.strip() }}", "Grüße <&>"),
        (
            "{%- for m in messages %}\n    {{- '<' + m.role + '>' }}\n{% endfor %}\n",
            "<system>\n<user>\n",
        ),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "2",
        ),
        (
            "{{ messages[0] | tojson }}",
            "{\"role\": \"system\", \"content\": \"Be brief.\"}",
        ),
        (
            "{{ {'a': [1, 'é', none], 'b': {}} | tojson }}",
            "{\"a\": [1, \"é\", null], \"b\": {}}",
        ),
        (
            "{{ 'a-b' | replace('-', '+') ~ ['x', 2] | join(', ') + ', '.join(['y', 'z']) + 'q'.replace('q', 'r') }}",
            "a+bx, 2y, zr",
        ),
        (
            "{{ 2 * 3 + 1 }}{{ 'a' < 'b' }}{{ missing ~ 'x' }}",
            "7Truex",
        ),
        (
            "{% set ns = namespace(s='') %}{% for m in messages[1:] %}{% set ns.s = ns.s + m['content'] | trim + '|' %}\
                 {% endfor %}{{ ns.s }}",
            "Grüße <&>|",
        ),
        (
            "{% if add_generation_prompt %}yes{% endif %}{{ nothing is defined }}",
            "yesFalse",
        ),
        (
            "{% if 'brief' in messages[0]['content'] and messages | length == 2 %}a{% endif %}",
            "a",
        ),
        (
            "{{ messages[0]['content'].split(' ')[-1] }}{{ messages[::-1][0]['role'] }}",
            "brief.user",
        ),
    ];
    for (source, expected) in cases {
        assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn templates_that_read_or_never_end_are_refused() {
    let cases = [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "fuel",
        ),
        (
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "recursion",
        ),
        // What is doubled thirty times would fill any memory.
        (
            "{% set ns = namespace(x='xx') %}{% for a in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            "works through more than",
        ),
        (
            "{% set ns = namespace(x='xx') %}{% for a in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
            "works through more than",
        ),
        (
            "{% set ns = namespace(x='xx') %}{% for a in range(40) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}\
                 {% set ns.x = y %}{% endfor %}",
            "works through more than",
        ),
        (
            "{% macro d(x) %}{{ x }}{{ x }}{% endmacro %}\
                 {% set ns = namespace(x='xx') %}{% for a in range(40) %}{% set ns.x = d(ns.x) %}{% endfor %}",
            "works through more than",
        ),
        (
            "{% set ns = namespace(x='xx') %}{% for a in range(40) %}\
                 {% set ns.x = ns.x | replace('x', 'xxxxxxxxxxxxxxxxxxxx') %}{% endfor %}",
            "works through more than",
        ),
        (
            "{% set ns = namespace(x='xx') %}{% for a in range(40) %}\
                 {% set ns.x = ns.x.replace('x', 'xxxxxxxxxxxxxxxxxxxx') %}{% endfor %}",
            "works through more than",
        ),
        (
            "{% set ns = namespace(x='xx') %}{% for a in range(40) %}\
                 {% set ns.x = [ns.x, ns.x, ns.x] | join(ns.x) %}{% endfor %}",
            "works through more than",
        ),
        (
            "{% set ns = namespace(x='xx') %}{% for a in range(40) %}\
                 {% set ns.x = ns.x.join([ns.x, ns.x, ns.x]) %}{% endfor %}",
            "works through more than",
        ),
        (
            "{% set ns = namespace(x=messages) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}\
                 {{ ns.x | tojson }}",
            "works through more than",
        ),
        (
            "{% set ns = namespace(x=messages) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}\
                 {{ ns.x == [ns.x] }}",
            "works through more than",
        ),
        (
            "{% set ns = namespace(x='xxxxxxxxxx', l=[]) %}{% for a in range(16) %}{% set ns.x = ns.x ~ ns.x %}\
                 {% endfor %}{% for a in range(9999) %}{% set ns.l = [ns.l, ns.x[1:]] %}{% endfor %}",
            "works through more than",
        ),
        // As deep as there are steps.
        (
            "{% set ns = namespace(x=[]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}",
            "fuel",
        ),
        ("{{ 'x' * 10000000000 }}", "repeats a text"),
        ("{{ 'x' * 90000000 ~ 'x' * 90000000 }}", "repeats a text"),
        (
            "{% set x = [1] * 10000000000 %}",
            "repeats a text or a list",
        ),
        ("{% include '/etc/passwd' %}", "cannot be rendered"),
        ("{% import 'x' as x %}", "cannot be rendered"),
        ("{% extends '../x' %}", "cannot be rendered"),
        ("{{ messages | tojson(indent=100000000000) }}", "at most 64"),
        ("{{ 'x' | indent(100000000000) }}", "indent"),
        (
            "{{ raise_exception('Roles must alternate') }}",
            "Roles must alternate",
        ),
        ("{% for", "line 1 of the template"),
        ("{{ open('/etc/passwd').read() }}", "open"),
        ("{{ ''.__class__ }}{{ nothing.at.all }}", "undefined"),
    ];
    for (source, told) in cases {
        let error = render(source).expect_err(source);
        assert!(
            error.contains(told) && error.contains("x.gguf"),
            "{source}: {error}"
        );
    }
    let long = "x".repeat(MAX_SOURCE as usize + 1);
    ChatTemplate::new(Path::new("x"), long).unwrap_err();
}

#[test]
fn two_templates_that_differ_are_an_error_that_names_both() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(ChatTemplate::of_folder(folder.path()).unwrap(), None);
    let settings =
        |json: Value| std::fs::write(at("tokenizer_config.json"), json.to_string()).unwrap();
    settings(serde_json::json!({"chat_template": "a"}));
    assert_eq!(
        ChatTemplate::of_folder(folder.path())
            .unwrap()
            .unwrap()
            .source(),
        "a"
    );
    let several = [("tool", "t"), ("default", "d")];
    let several = several.map(|(name, t)| serde_json::json!({"name": name, "template": t}));
    settings(serde_json::json!({"chat_template": several}));
    assert_eq!(
        ChatTemplate::of_folder(folder.path())
            .unwrap()
            .unwrap()
            .source(),
        "d"
    );
    std::fs::write(at("chat_template.jinja"), "d\n").unwrap();
    ChatTemplate::of_folder(folder.path()).unwrap();
    std::fs::write(at("chat_template.jinja"), "other").unwrap();
    for problem in [
        ChatTemplate::of_folder(folder.path()),
        ChatTemplate::of_gguf(&at("x.gguf"), Some("mine")),
    ] {
        let problem = problem.unwrap_err().to_string();
        assert!(problem.contains("two chat templates"), "{problem}");
    }
    assert!(
        ChatTemplate::of_gguf(&at("x.gguf"), None)
            .unwrap()
            .is_some()
    );
}
