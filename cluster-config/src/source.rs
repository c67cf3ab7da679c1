//! Reads settings, not yet understood, from a file, from variables and from flags.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::error::Problem;
use crate::key::{KEYS, Key, VARIABLE_PREFIX, find};
use crate::origin::Origin;

/// The variable that names the configuration file.
pub(crate) const FILE_VARIABLE: &str = "TIDINGS_CONFIG";

/// A value for a key, from one place.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) key: &'static Key,
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

/// What one place gave.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) settings: Vec<Setting>,
    pub(crate) problems: Vec<Problem>,
}

/// Reads a TOML file.
pub(crate) fn from_file(file: &Path) -> Settings {
    let mut found = Settings::default();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            let (file, reason) = (file.to_owned(), error.to_string());
            found.problems.push(Problem::Unreadable { file, reason });
            return found;
        }
    };
    let place = |start| Origin::File { file: file.to_owned(), line: line_of(&text, start) };
    match DeTable::parse(&text) {
        Ok(table) => read_table(table.get_ref(), "", &place, &mut found),
        Err(error) => {
            let origin = place(error.span().map_or(0, |span| span.start));
            let reason = error.message().to_owned();
            found.problems.push(Problem::Syntax { origin, reason });
        }
    }
    found
}

/// Reads those of the variables that are ours.
pub(crate) fn from_variables(variables: &[(OsString, OsString)]) -> Settings {
    let mut found = Settings::default();
    let is_kubernetes = variables.iter().any(|(name, _)| name == "KUBERNETES_SERVICE_HOST");
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| is_ours(name, is_kubernetes)) else {
            continue;
        };
        let origin = Origin::Variable(name.to_owned());
        let Some(key) = KEYS.iter().find(|key| key.variable() == name) else {
            let nearest = nearest(name, KEYS.iter().map(Key::variable));
            let problem = Problem::UnknownKey { origin, key: name.to_owned(), nearest };
            found.problems.push(problem);
            continue;
        };
        match value.to_str() {
            Some(value) => found.settings.push(Setting { key, value: value.to_owned(), origin }),
            None => found.problems.push(not_text(key, origin, value)),
        }
    }
    found
}

/// Kubernetes hands each pod variables about the services around it, and one of those may be
/// called tidings: then `TIDINGS_PORT` and `TIDINGS_SERVICE_…` are not meant for us.
fn is_ours(name: &str, is_kubernetes: bool) -> bool {
    let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { return false };
    let is_about_service = rest.starts_with("PORT") || rest.starts_with("SERVICE_");
    name != FILE_VARIABLE && !(is_kubernetes && is_about_service)
}

fn not_text(key: &Key, origin: Origin, value: &OsStr) -> Problem {
    let reason = format!("{} bytes that are not UTF-8", value.len());
    Problem::BadValue { origin, key: key.name, reason }
}

fn read_table(
    table: &DeTable<'_>,
    prefix: &str,
    place: &impl Fn(usize) -> Origin,
    found: &mut Settings,
) {
    for (name, value) in table {
        let origin = place(name.span().start);
        let name = format!("{prefix}{}", name.get_ref());
        let key = find(&name);
        match (value.get_ref(), key) {
            (DeValue::Table(inner), None) if is_table(&name) => {
                read_table(inner, &format!("{name}."), place, found);
            }
            (_, None) => {
                let nearest = nearest(&name, KEYS.iter().map(|key| key.name.to_owned()));
                found.problems.push(Problem::UnknownKey { origin, key: name, nearest });
            }
            (value, Some(key)) => match text_of(value) {
                Ok(value) => found.settings.push(Setting { key, value, origin }),
                Err(reason) => {
                    found.problems.push(Problem::BadValue { origin, key: key.name, reason });
                }
            },
        }
    }
}

fn is_table(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.split('.').next() == Some(name))
}

fn text_of(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        other => Err(format!("expected a string or a whole number, found {}", other.type_str())),
    }
}

fn line_of(text: &str, start: usize) -> usize {
    text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1
}

/// The name among `names` that takes the fewest edits.
pub(crate) fn nearest(name: &str, names: impl Iterator<Item = String>) -> String {
    let distance = |other: &String| strsim::damerau_levenshtein(name, other);
    names.min_by_key(distance).expect("there is at least one key")
}
