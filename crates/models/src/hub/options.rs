//! Reads the environment variables that configure the access to the hub.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::ModelError;

/// The address of the hub, the place of its files, and what may be done.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// The address of the hub, without a slash at its end.
    pub endpoint: String,
    /// The folder of the cache, which is shared with Python's `huggingface_hub`.
    pub cache: PathBuf,
    /// The access token.
    pub token: Option<Token>,
    /// Whether only the cache may be used.
    pub offline: bool,
    /// The number of times that a request is made before its failure counts.
    pub attempts: u32,
    /// The wait after the first failure; it doubles after each further one.
    pub first_wait: Duration,
    /// How long almost nothing may arrive before a transfer counts as broken.
    pub patience: Duration,
}

/// An access token; its `Debug` output does not show it.
#[derive(Clone)]
pub struct Token(#[cfg_attr(not(feature = "download"), expect(dead_code))] String);

impl Token {
    /// Makes a token, unless the text is blank.
    pub fn new(text: &str) -> Option<Token> {
        let text = text.trim();
        (!text.is_empty()).then(|| Token(text.to_owned()))
    }

    #[cfg(any(feature = "download", test))]
    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

impl HubOptions {
    /// Reads `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_ENDPOINT` and `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// A value that cannot be used, or a token file that exists but cannot be read.
    ///
    /// # Source
    /// Names and defaults: <https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables>.
    pub fn from_env() -> Result<HubOptions, ModelError> {
        HubOptions::from_variables(|name| std::env::var_os(name))
    }

    /// Reads the options as [`HubOptions::from_env`] does, from any source of variables.
    ///
    /// # Errors
    /// The errors of [`HubOptions::from_env`].
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<HubOptions, ModelError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &'static str| {
            set(name)
                .map(|value| {
                    value
                        .into_string()
                        .map_err(|_| setting(name, "is not UTF-8"))
                })
                .transpose()
        };
        // An unquoted `~` is the shell's business, but these variables are often set where no shell expands it.
        let user = set("HOME").map(PathBuf::from);
        let folder = |name: &str| {
            set(name)
                .map(PathBuf::from)
                .map(|path| match (path.strip_prefix("~"), &user) {
                    (Ok(rest), Some(user)) => user.join(rest),
                    _ => path,
                })
        };
        let home = folder("HF_HOME")
            .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| user.as_ref().map(|user| user.join(".cache/huggingface")));
        let need_home = || {
            home.clone().ok_or_else(|| {
                setting(
                    "HF_HOME",
                    "is not set and neither is HOME; set it to the folder for downloads",
                )
            })
        };
        let cache = match folder("HF_HUB_CACHE") {
            Some(cache) => cache,
            None => need_home()?.join("hub"),
        };
        let token = match text("HF_TOKEN")?.as_deref().and_then(Token::new) {
            Some(token) => Some(token),
            None => {
                let path = folder("HF_TOKEN_PATH").or_else(|| home.map(|home| home.join("token")));
                path.map(read_token).transpose()?.flatten()
            }
        };
        let endpoint = text("HF_ENDPOINT")?.unwrap_or_else(|| "https://huggingface.co".to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let address = endpoint
            .strip_prefix("https://")
            .or_else(|| endpoint.strip_prefix("http://"));
        // A name and password in the address would stand in every error.
        if address.is_none_or(|a| a.is_empty() || a.contains(['@', '?', '#', ' '])) {
            return Err(setting(
                "HF_ENDPOINT",
                "must be http:// or https:// and a host, without user, password or query",
            ));
        }
        let offline = match text("HF_HUB_OFFLINE")? {
            None => false,
            Some(value) => match value.to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => true,
                "0" | "false" | "no" | "off" => false,
                _ => {
                    return Err(setting(
                        "HF_HUB_OFFLINE",
                        "must be 1, true, yes or on; or 0, false, no or off",
                    ));
                }
            },
        };
        Ok(HubOptions {
            endpoint,
            cache,
            token,
            offline,
            attempts: 5,
            first_wait: Duration::from_millis(500),
            patience: Duration::from_secs(60),
        })
    }
}

fn read_token(path: PathBuf) -> Result<Option<Token>, ModelError> {
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Token::new(&text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ModelError::Io { path, source }),
    }
}

fn setting(variable: &'static str, problem: &'static str) -> ModelError {
    ModelError::HubSetting { variable, problem }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<HubOptions, ModelError> {
        HubOptions::from_variables(|name| {
            let found = variables.iter().find(|v| v.0 == name);
            found.map(|v| OsString::from(v.1))
        })
    }

    #[test]
    fn the_cache_is_where_python_has_it() {
        for (variables, expect) in [
            (vec![("HOME", "/u")], "/u/.cache/huggingface/hub"),
            (
                vec![("HOME", "/u"), ("HF_HOME", "")],
                "/u/.cache/huggingface/hub",
            ),
            (
                vec![("HOME", "/u"), ("XDG_CACHE_HOME", "/x")],
                "/x/huggingface/hub",
            ),
            (vec![("HOME", "/u"), ("HF_HOME", "/h")], "/h/hub"),
            (vec![("HOME", "/u"), ("HF_HOME", "~/h")], "/u/h/hub"),
            (vec![("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")], "/c"),
            (vec![("HF_HUB_CACHE", "/c")], "/c"),
        ] {
            let options = read(&variables).expect("options");
            assert_eq!(options.cache, Path::new(expect), "{variables:?}");
            assert_eq!(options.endpoint, "https://huggingface.co");
            assert!(!options.offline && options.token.is_none());
        }
    }

    #[test]
    fn the_variable_goes_before_the_token_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().to_str().expect("UTF-8");
        let other = folder.path().join("other");
        std::fs::write(folder.path().join("token"), "from-home\n").expect("a file");
        std::fs::write(&other, " from-path ").expect("a file");
        let other = other.to_str().expect("UTF-8");
        for (variables, expect) in [
            (vec![("HF_HOME", home)], "from-home"),
            (
                vec![("HF_HOME", home), ("HF_TOKEN_PATH", other)],
                "from-path",
            ),
            (vec![("HF_HOME", home), ("HF_TOKEN", " \n")], "from-home"),
            (vec![("HF_HOME", home), ("HF_TOKEN", "given\n")], "given"),
        ] {
            let options = read(&variables).expect("options");
            let token = options.token.as_ref().expect("a token");
            assert_eq!(token.secret(), expect, "{variables:?}");
            let shown = format!("{options:?}");
            assert!(
                shown.contains("Token(hidden)") && !shown.contains(expect),
                "{shown}"
            );
        }
    }

    #[test]
    fn switches_and_addresses() {
        for (value, expect) in [("1", true), ("Yes", true), ("ON", true), ("true", true)]
            .into_iter()
            .chain([("0", false), ("no", false), ("", false)])
        {
            let options = read(&[("HF_HOME", "/h"), ("HF_HUB_OFFLINE", value)]).expect("options");
            assert_eq!(options.offline, expect, "{value}");
        }
        let options = read(&[
            ("HF_HOME", "/h"),
            ("HF_ENDPOINT", "http://127.0.0.1:80/hub/"),
        ]);
        assert_eq!(
            options.expect("options").endpoint,
            "http://127.0.0.1:80/hub"
        );
        for (variables, expect) in [
            (
                vec![("HF_HOME", "/h"), ("HF_HUB_OFFLINE", "maybe")],
                "HF_HUB_OFFLINE",
            ),
            (
                vec![("HF_HOME", "/h"), ("HF_ENDPOINT", "hub.example")],
                "HF_ENDPOINT",
            ),
            (
                vec![
                    ("HF_HOME", "/h"),
                    ("HF_ENDPOINT", "https://me:secret@hub.example"),
                ],
                "HF_ENDPOINT",
            ),
            (vec![], "HF_HOME"),
        ] {
            let error = read(&variables).expect_err("no options").to_string();
            assert!(
                error.contains(expect) && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
