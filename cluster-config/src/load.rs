//! Puts the places together: defaults < file < variables < flags, checked as a whole.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::{ConfigError, Problem};
use crate::key::{KEYS, Key, find};
use crate::origin::Origin;
use crate::source::{FILE_VARIABLE, Setting, Settings, from_file, from_variables};
use crate::validate::validate;

/// What the caller brings.
#[derive(Clone, Debug, Default)]
pub struct Options {
    file: Option<PathBuf>,
    flags: Vec<Flag>,
}

#[derive(Clone, Debug)]
struct Flag {
    name: String,
    key: &'static Key,
    value: String,
}

impl Options {
    /// With this configuration file; without one `TIDINGS_CONFIG` may name it.
    pub fn with_file(file: Option<PathBuf>) -> Self {
        Self { file, flags: Vec::new() }
    }

    /// Sets a key, above all other places, if there is a value.
    ///
    /// # Panics
    /// If there is no such key: the caller's list of flags is wrong.
    #[must_use]
    pub fn flag(mut self, name: &str, key: &str, value: Option<impl ToString>) -> Self {
        let key = find(key).expect("a flag sets a key that exists");
        if let Some(value) = value {
            self.flags.push(Flag { name: name.to_owned(), key, value: value.to_string() });
        }
        self
    }
}

/// A configuration that passed all checks, and where each of its values came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    origins: BTreeMap<&'static str, Origin>,
}

/// One line of `tidings config show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: &'static str,
    /// Its value, as it stands in a file; a secret is only said to be set.
    pub value: String,
    /// Its default.
    pub default: String,
    /// Where the value came from.
    pub origin: Origin,
}

impl Loaded {
    /// Where the value of this key came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Every key with its value and where it came from.
    pub fn rows(&self) -> Vec<Row> {
        let default = Config::default();
        let row = |key: &Key| Row {
            key: key.name,
            value: key.show(&self.config),
            default: key.show(&default),
            origin: self.origin(key.name),
        };
        KEYS.iter().map(row).collect()
    }
}

/// Loads the configuration of this process.
///
/// # Errors
/// All that is wrong with it, each with its place and its key.
pub fn load(options: Options) -> Result<Loaded, ConfigError> {
    let variables: Vec<_> = std::env::vars_os().collect();
    load_from(&options, &variables)
}

/// As [`load`], with these variables in place of the process's own.
///
/// # Errors
/// As [`load`].
pub fn load_from(
    options: &Options,
    variables: &[(OsString, OsString)],
) -> Result<Loaded, ConfigError> {
    let named = variables.iter().find(|(name, _)| name == FILE_VARIABLE);
    let named = named.map(|(_, value)| Path::new(value)).filter(|file| *file != Path::new(""));
    let file = options.file.as_deref().or(named);
    let flags = options.flags.iter().map(|flag| Setting {
        key: flag.key,
        value: flag.value.clone(),
        origin: Origin::Flag(flag.name.clone()),
    });
    let flags = Settings { settings: flags.collect(), problems: Vec::new() };
    let places = [file.map(from_file).unwrap_or_default(), from_variables(variables), flags];

    let mut loaded = Loaded { config: Config::default(), origins: BTreeMap::new() };
    let mut problems = Vec::new();
    for Settings { settings, problems: found } in places {
        problems.extend(found);
        for setting in settings {
            apply(&mut loaded, setting, &mut problems);
        }
    }
    // What could not be read keeps its default; checking that against the rest would mislead.
    if problems.is_empty() {
        let wrong = validate(&loaded.config).into_iter().map(|(key, reason)| Problem::BadValue {
            origin: loaded.origin(key),
            key,
            reason,
        });
        problems.extend(wrong);
    }
    if problems.is_empty() { Ok(loaded) } else { Err(ConfigError { problems }) }
}

fn apply(loaded: &mut Loaded, setting: Setting, problems: &mut Vec<Problem>) {
    let Setting { key, value, origin } = setting;
    match (key.set)(&mut loaded.config, &value) {
        Ok(()) => {
            loaded.origins.insert(key.name, origin);
        }
        Err(reason) => problems.push(Problem::BadValue { origin, key: key.name, reason }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn with_file(text: &str) -> (tempfile::TempDir, Options) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        fs::write(&file, text).unwrap();
        (dir, Options::with_file(Some(file)))
    }

    fn complaint(options: &Options, pairs: &[(&str, &str)]) -> String {
        load_from(options, &variables(pairs)).unwrap_err().to_string()
    }

    /// The later place must win, key by key, and be remembered. We set one key in every place and
    /// others in fewer.
    #[test]
    fn flags_win_over_variables_over_file_over_defaults() {
        let text = "[http]\nport = 1\n[node]\nid = 2\n\n[log]\nlevel = \"debug\"\n";
        let (dir, options) = with_file(text);
        let options = options.flag("--port", "http.port", Some(3)).flag(
            "--data",
            "node.data_dir",
            None::<&str>,
        );
        let set = [("TIDINGS_HTTP__PORT", "2"), ("TIDINGS_NODE__ID", "7"), ("PATH", "/bin")];
        let loaded = load_from(&options, &variables(&set)).unwrap();
        assert_eq!(loaded.config.http.port, 3);
        assert_eq!(loaded.origin("http.port"), Origin::Flag("--port".to_owned()));
        assert_eq!(loaded.config.node.id.get(), 7);
        assert_eq!(loaded.origin("node.id").to_string(), "TIDINGS_NODE__ID");
        assert_eq!(loaded.config.log.level, "debug");
        let line = format!("{}:7", dir.path().join("node.toml").display());
        assert_eq!(loaded.origin("log.level").to_string(), line);
        assert_eq!(loaded.origin("node.data_dir"), Origin::Default);
        assert_eq!(loaded.rows().len(), KEYS.len());
    }

    /// A person who mistypes must be told the place, the key, and what was probably meant.
    #[test]
    fn errors_name_place_and_key_and_the_nearest_key() {
        let (_dir, options) =
            with_file("[http]\nprot = 7270\nport = \"no\"\nx = 1\n[nod]\nid = 1\n");
        let text =
            complaint(&options, &[("TIDINGS_HTTP_PORT", "1"), ("TIDINGS_LOG__FORMAT", "xml")]);
        for expected in [
            "node.toml:2: http.prot is not a setting; did you mean http.port?",
            "node.toml:3: http.port: \"no\" is not a whole number",
            "node.toml:5: nod is not a setting; did you mean node.id?",
            "TIDINGS_HTTP_PORT: TIDINGS_HTTP_PORT is not a setting; did you mean TIDINGS_HTTP__PORT?",
            "TIDINGS_LOG__FORMAT: log.format: \"xml\" is not one of text, json",
        ] {
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
    }

    #[test]
    fn broken_and_missing_files_are_named() {
        let (_dir, options) = with_file("[http]\nport = = 1\n");
        assert!(complaint(&options, &[]).contains("node.toml:2: "));
        let missing = complaint(&Options::default(), &[("TIDINGS_CONFIG", "/nowhere/x.toml")]);
        assert!(missing.starts_with("/nowhere/x.toml: cannot be read: "), "{missing}");
    }

    /// Nobody may reach a node from outside without a token, by whatever place it was opened.
    #[test]
    fn other_than_loopback_needs_a_token() {
        let open = [("TIDINGS_HTTP__ADDRESS", "0.0.0.0")];
        let text = complaint(&Options::default(), &open);
        assert!(text.contains("http.address: 0.0.0.0 can be reached from outside"), "{text}");
        let text = complaint(&Options::default(), &[("TIDINGS_HTTP__TOKEN", "short")]);
        assert!(text.contains("http.token: needs 16") && !text.contains("short"), "{text}");
        let token = ("TIDINGS_HTTP__TOKEN", "0123456789abcdef");
        let [open] = open;
        let loaded = load_from(&Options::default(), &variables(&[open, token])).unwrap();
        assert_eq!(loaded.config.server_url(), "http://127.0.0.1:7270");
        assert_eq!(loaded.config.client_token().expose(), "0123456789abcdef");
    }

    #[test]
    fn values_are_checked_together() {
        for (name, value) in [
            ("TIDINGS_NODE__ID", "0"),
            ("TIDINGS_NODE__DRAIN_WAIT", "1h"),
            ("TIDINGS_HTTP__PORT", "65535"),
            ("TIDINGS_RETENTION__AGE", "1s"),
            ("TIDINGS_RETENTION__BYTES", "1MiB"),
            ("TIDINGS_LOG__LEVEL", " "),
            ("TIDINGS_CLIENT__SERVER", "https://example.org"),
            ("TIDINGS_CLIENT__TIMEOUT", "0s"),
        ] {
            let text = complaint(&Options::default(), &[(name, value)]);
            assert!(text.starts_with(name), "{text}");
        }
    }

    /// What Kubernetes says about a service called tidings must not stop a node; elsewhere the
    /// same name is a mistake.
    #[test]
    fn variables_of_kubernetes_are_not_ours() {
        let port = ("TIDINGS_PORT", "tcp://10.0.0.1:7270");
        assert!(load_from(&Options::default(), &variables(&[port])).is_err());
        let here = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        assert!(load_from(&Options::default(), &variables(&[port, here])).is_ok());
    }

    /// The files in the repository must load; `reference.toml` changes nothing.
    #[test]
    fn our_own_files_load() {
        let file = |name| Some(Path::new(env!("CARGO_MANIFEST_DIR")).join(name));
        let of = |name| Options::with_file(file(name));
        let reference = load_from(&of("reference.toml"), &[]).unwrap();
        assert_eq!(reference.config, Config::default());
        let is_set = |key: &Key| reference.origin(key.name) != Origin::Default;
        assert!(KEYS.iter().all(is_set), "reference.toml lists every key");
        assert!(load_from(&of("dev.toml"), &[]).is_ok());
    }
}
