//! Holds the rules of the house that no compiler holds, by a plain scan of the text.
//!
//! Each test collects everything that breaks its rule before it fails, so that one run tells all.
//! A crate may use only those before it in [`LAYERS`]; inside a crate modules form no cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Folder and package of each crate, from the ground up.
const LAYERS: [(&str, &str); 14] = [
    ("runtime/types", "tidings-types"),
    ("runtime/check", "tidings-check"),
    ("cluster-config", "tidings-config"),
    ("runtime/log", "tidings-log"),
    ("runtime/state", "tidings-state"),
    ("runtime/replica", "tidings-replica"),
    ("runtime/delivery", "tidings-delivery"),
    ("runtime/link", "tidings-link"),
    ("runtime/node", "tidings-node"),
    ("runtime/gateway", "tidings-gateway"),
    ("runtime/tidings/derive", "tidings-derive"),
    ("runtime/tidings", "tidings"),
    ("runtime/bridges", "tidings-bridges"),
    ("runtime/cli", "tidings-cli"),
];

const LINES_MAX: usize = 400;

/// A word, what to write instead, and the folders or files where it may stand outside tests.
const BANNED: [(&str, &str, &[&str]); 10] = [
    ("FIXME", "mend it, or file an issue", &[]),
    ("dbg!", "tracing::debug!", &[]),
    ("todo!", "write it, or leave the item out", &[]),
    ("unwrap()", "expect(\"why it cannot fail\")", &[]),
    ("Instant::now", "the clock of types/seam", &EDGES),
    ("SystemTime::now", "the clock of types/seam", &EDGES),
    ("tokio::spawn", "an actor, or a named runtime handle", &[]),
    ("raft::", "the types of tidings-replica", &["runtime/replica/"]),
    ("ractor::", "the handles of tidings-node", &["runtime/node/", "runtime/link/"]),
    ("env::var", "tidings_config::load", &["cluster-config/"]),
];

/// Where a clock may be read: what is passed in must come from somewhere.
const EDGES: [&str; 5] = [
    "runtime/node/",
    "runtime/gateway/",
    "runtime/cli/",
    "runtime/log/src/thread.rs",
    "runtime/log/src/disk/real.rs",
];

/// What may stand at the top.
const TOP: &str = "Cargo.toml Cargo.lock runtime services cluster-config tests benches README.md \
    ARCHITECTURE.md CHANGELOG.md SECURITY.md LICENSE-MIT LICENSE-APACHE .ci .git .gitignore \
    clippy.toml rustfmt.toml deny.toml justfile target .tidings";

/// No module may reach itself over others, neither as a file nor as the top-level module it is in,
/// and none may import through re-exports of the root, which hide such edges.
#[test]
fn modules_form_no_cycle() {
    let (mut wrong, mut n_edges) = (Vec::new(), 0);
    for folder in crate_folders() {
        let is_of = |source: &Source| source.krate == folder && !source.is_test;
        let files: Vec<_> = sources().into_iter().filter(is_of).collect();
        let modules: BTreeSet<_> = files.iter().map(|source| source.module.clone()).collect();
        let (mut fine, mut coarse) = (Graph::new(), Graph::new());
        for source in files.iter().filter(|source| !source.module.is_empty()) {
            for path in crate_paths(&source.code()) {
                let Some(target) = module_of(&path, &modules) else {
                    if folder.starts_with("runtime") {
                        wrong.push(format!("{}: crate::{path} is no module", source.path));
                    }
                    continue;
                };
                n_edges += 1;
                add_edge(&mut fine, &source.module, &target);
                add_edge(&mut coarse, top_of(&source.module), top_of(&target));
            }
        }
        wrong.extend(cycle(&fine).or(cycle(&coarse)).map(|way| format!("{folder}: cycle {way}")));
    }
    tell(&format!("modules: {n_edges} edges, no cycle"), &wrong);
}

/// A crate must use only what lies below it; the services are what people copy, so they use the
/// public crate alone; the simulator runs the pure cores, so it uses nothing else.
#[test]
fn crates_use_only_those_below() {
    let (mut wrong, mut n_uses) = (Vec::new(), 0);
    // The fuzz targets stand outside and reach for everything.
    for folder in crate_folders().into_iter().filter(|folder| folder != "tests/fuzz") {
        let rank = LAYERS.iter().position(|(of_layer, _)| *of_layer == folder);
        let cores = ["types", "check", "log", "state", "replica", "delivery"];
        let below: Vec<_> = match rank {
            None if folder == "tests/sim" => LAYERS
                .map(|(_, package)| package)
                .into_iter()
                .filter(|package| {
                    cores.iter().any(|core| package.strip_prefix("tidings-") == Some(core))
                })
                .collect(),
            Some(_) if folder == "cluster-config" => vec!["tidings-types"],
            Some(rank) => LAYERS.iter().take(rank).map(|(_, package)| *package).collect(),
            None => vec!["tidings"],
        };
        // The binary shows the example services at work.
        let is_service = |used: &str| {
            ["users", "notifications", "analytics"]
                .iter()
                .any(|service| used.strip_prefix("tidings-") == Some(service))
        };
        for used in own_dependencies(&folder) {
            n_uses += 1;
            let is_shown = folder == "runtime/cli" && is_service(&used);
            if !below.contains(&used.as_str()) && !is_shown {
                wrong.push(format!("{folder} must not use {used}"));
            }
        }
        if rank.is_none() && !folder.starts_with("services/") && folder != "tests/sim" {
            wrong.push(format!("{folder} has no place in the order of crates"));
        }
    }
    tell(&format!("crates: {}, {n_uses} uses, all downwards", crate_folders().len()), &wrong);
}

/// The first line of a file must say what it is for.
#[test]
fn files_open_with_one_sentence() {
    let opens = |source: &Source| {
        let first = source.text.lines().next().unwrap_or_default();
        first.starts_with("//! ") && first.ends_with('.')
    };
    let sources = sources();
    let wrong: Vec<_> = sources.iter().filter(|source| !opens(source)).collect();
    let wrong: Vec<_> = wrong.iter().map(|source| format!("{}: line 1", source.path)).collect();
    tell(&format!("openings: {} files", sources.len()), &wrong);
}

/// A file that nobody can read in one go must be split. Tests do not count.
#[test]
fn files_are_short() {
    let sources = sources().into_iter().filter(|source| !source.is_test);
    let mut sizes: Vec<_> =
        sources.map(|source| (source.plain().lines().count(), source.path)).collect();
    sizes.sort();
    let at = |percent: usize| sizes.get((sizes.len() - 1) * percent / 100).map_or(0, |size| size.0);
    let too_long = sizes.iter().filter(|(n_lines, _)| *n_lines > LINES_MAX);
    let wrong: Vec<_> =
        too_long.map(|(n_lines, path)| format!("{path}: {n_lines} lines")).collect();
    let summary = format!(
        "lines without tests: {} files, median {}, p90 {}, longest {}, bound {LINES_MAX}",
        sizes.len(),
        at(50),
        at(90),
        at(100)
    );
    tell(&summary, &wrong);
}

/// The map must show the house as it is: what it names exists, and it names every crate.
#[test]
fn architecture_names_what_exists() {
    let text = read("ARCHITECTURE.md");
    let mut wrong = Vec::new();
    for folder in crate_folders().iter().filter(|folder| folder.starts_with("runtime/")) {
        if !text.contains(folder.as_str()) {
            wrong.push(format!("{folder} is not in ARCHITECTURE.md"));
        }
    }
    let quoted = text.split('`').skip(1).step_by(2);
    let is_path = |word: &&str| {
        let is_file = [".rs", ".toml", ".md", ".sh"].iter().any(|end| word.ends_with(end));
        let tops = ["runtime/", "services/", "tests/", "benches/", "cluster-config/"];
        !word.contains(['*', '<', ' ', '{'])
            && (is_file || tops.iter().any(|top| word.starts_with(top)))
    };
    let paths: BTreeSet<_> = quoted.filter(is_path).collect();
    let is_missing = |path: &&&str| !root().join(path.trim_end_matches('/')).exists();
    let missing = paths.iter().filter(is_missing);
    wrong.extend(missing.map(|path| format!("ARCHITECTURE.md names {path}, which does not exist")));
    tell(&format!("architecture: {} paths", paths.len()), &wrong);
}

/// Some words mark what must not be shipped or must not stand in this place.
#[test]
fn banned_words_stay_out() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test) {
        for (idx, line) in source.code().lines().enumerate() {
            for (word, instead, places) in BANNED {
                let is_allowed = places.iter().any(|place| source.path.starts_with(place));
                if !is_allowed && has_word(line, word) {
                    let path = &source.path;
                    wrong.push(format!("{path}:{}: {word} is banned; write {instead}", idx + 1));
                }
            }
        }
    }
    tell(&format!("banned words: {} looked for", BANNED.len()), &wrong);
}

/// What people may set is written in three places, and those must agree: the typed fields, the
/// reference file, and the variables that the documents name.
#[test]
fn settings_are_documented() {
    let fields = config_fields();
    let keys = toml_keys(&read("cluster-config/reference.toml"));
    let differ = fields.symmetric_difference(&keys);
    let mut wrong: Vec<_> = differ
        .map(|key| format!("{key} is not both a field and a key of reference.toml"))
        .collect();
    let variable = |key: &String| format!("TIDINGS_{}", key.replace('.', "__").to_uppercase());
    let mut variables: BTreeSet<_> = keys.iter().map(variable).collect();
    variables.insert("TIDINGS_CONFIG".to_owned());
    for path in files_below(&root(), "md") {
        let text = fs::read_to_string(&path).expect("a file that was listed can be read");
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        for name in text.split(|c| !is_name(c)).filter(|name| name.starts_with("TIDINGS_")) {
            if name != "TIDINGS_" && !variables.contains(name) {
                wrong.push(format!("{}: {name} does not exist", path.display()));
            }
        }
    }
    tell(&format!("settings: {}", keys.len()), &wrong);
}

/// One actor a file, or its story cannot be told in order.
#[test]
fn actor_files_hold_one_actor() {
    let is_actor = |line: &&str| line.starts_with("impl") && line.contains("Actor for ");
    let count = |source: &Source| source.code().lines().filter(is_actor).count();
    let sources = sources();
    let counted = sources.iter().filter(|source| !source.is_test);
    let actors: Vec<_> = counted.map(|source| (count(source), &source.path)).collect();
    let wrong: Vec<_> = actors.iter().filter(|(n_actors, _)| *n_actors > 1).collect();
    let wrong: Vec<_> =
        wrong.iter().map(|(n_actors, path)| format!("{path}: {n_actors}")).collect();
    let n_files = actors.iter().filter(|(n_actors, _)| *n_actors == 1).count();
    tell(&format!("actors: {n_files} files, one each"), &wrong);
}

/// Whoever opens the repository must see the few rooms it has, and nothing that was left lying.
#[test]
fn top_level_is_as_agreed() {
    let names = fs::read_dir(root()).expect("the root can be listed");
    let names = names.map(|entry| entry.expect("the root can be listed").file_name());
    let names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    let is_known = |name: &&String| TOP.split_whitespace().any(|known| known == *name);
    let wrong: Vec<_> = names.iter().filter(|name| !is_known(name)).cloned().collect();
    tell(&format!("top level: {} entries", names.len()), &wrong);
}

/// One file of the tree.
struct Source {
    /// From the root.
    path: String,
    /// Folder of its crate, from the root; empty for the suite's own tests.
    krate: String,
    /// `layout::records`; empty for the root of a crate and for what is no module of it.
    module: String,
    text: String,
    is_test: bool,
}

impl Source {
    /// Without the tests at its end.
    fn plain(&self) -> &str {
        let is_tests = |(start, _): &(usize, &str)| {
            let rest = self.text.get(start + 1..).unwrap_or_default();
            let mut lines = rest.lines();
            let condition = lines.next().unwrap_or_default();
            let opened = lines.next().unwrap_or_default();
            condition.contains("test") && opened.starts_with("mod ") && opened.ends_with('{')
        };
        let start = self.text.match_indices("\n#[cfg(").find(is_tests);
        let start = start.map_or(self.text.len(), |(start, _)| start);
        self.text.get(..start).expect("a match begins at a character")
    }

    /// Without tests and comments, line by line as in the file.
    fn code(&self) -> String {
        let strip = |line: &str| line.split("//").next().unwrap_or_default().to_owned() + "\n";
        self.plain().lines().map(strip).collect()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Says what was counted, past the capture of the test harness, and fails with all that is wrong.
fn tell(summary: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{} broken:\n  {}", wrong.len(), wrong.join("\n  "));
    writeln!(std::io::stdout().lock(), "tidy: {summary}").expect("stdout is open");
}

fn crate_folders() -> Vec<String> {
    let manifests = files_below(&root(), "toml").into_iter();
    let manifests = manifests.filter(|path| path.file_name().is_some_and(|n| n == "Cargo.toml"));
    let folders = manifests.map(|path| from_root(path.parent().expect("a file is in a folder")));
    folders.filter(|folder| !folder.is_empty()).collect()
}

fn sources() -> Vec<Source> {
    let folders = crate_folders();
    let describe = |file: PathBuf| {
        let path = from_root(&file);
        let holds = |folder: &&String| path.starts_with(&format!("{folder}/"));
        let krate = folders.iter().filter(holds).max_by_key(|folder| folder.len());
        let krate = krate.cloned().unwrap_or_default();
        let inside =
            path.strip_prefix(&format!("{krate}/src/")).map(|path| path.replace(".rs", ""));
        let module = inside.unwrap_or_default().replace('/', "::");
        let is_root = ["lib", "main"].contains(&module.as_str());
        let module = if is_root { String::new() } else { module };
        // The simulator is a program that people read; only where it stands is with the tests.
        let is_test = ["tests/", "benches/"].iter().any(|top| path.starts_with(top))
            && !path.starts_with("tests/sim/src/")
            || path.contains("/tests/")
            || path.ends_with("_test.rs");
        let text = fs::read_to_string(&file).expect("a file that was listed can be read");
        Source { path, krate, module, text, is_test }
    };
    let mut sources: Vec<_> = files_below(&root(), "rs").into_iter().map(describe).collect();
    let test_modules: BTreeSet<_> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        source.is_test |= test_modules.contains(&(source.krate.clone(), source.module.clone()));
    }
    sources
}

/// Crate and name of modules that have their own file and exist for tests alone.
fn test_modules(source: &Source) -> Vec<(String, String)> {
    let prefix =
        if source.module.is_empty() { String::new() } else { source.module.clone() + "::" };
    let declared = source.text.split("\n#[cfg(test)]\n").skip(1);
    let name = |rest: &str| {
        let line = rest.lines().next()?;
        let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        line.strip_prefix("mod ")?.strip_suffix(';').map(|name| format!("{prefix}{name}"))
    };
    declared.filter_map(name).map(|module| (source.krate.clone(), module)).collect()
}

fn from_root(path: &Path) -> String {
    let path = path.strip_prefix(root()).expect("what was listed lies below the root");
    path.to_string_lossy().into_owned()
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the tree can be listed") {
        let path = entry.expect("a folder of the tree can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|of_path| of_path == extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn own_dependencies(folder: &str) -> Vec<String> {
    let manifest = read(&format!("{folder}/Cargo.toml"));
    let mut is_dependency = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_dependency = line.ends_with("dependencies]");
        }
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        // A crate may name itself among its dev-dependencies, to switch a feature on.
        let is_itself = manifest.contains(&format!("\nname = \"{name}\"\n"));
        if is_dependency && name.starts_with("tidings") && !is_itself {
            names.push(name.to_owned());
        }
    }
    names
}

/// What follows each `crate::`; a group gives one path for each of its members.
fn crate_paths(code: &str) -> Vec<String> {
    let is_path = |c: &char| c.is_alphanumeric() || *c == '_' || *c == ':';
    let path_at = |text: &str| text.trim_start().chars().take_while(is_path).collect::<String>();
    let mut paths = Vec::new();
    for (start, found) in code.match_indices("crate::") {
        let before = code.get(..start).and_then(|text| text.chars().next_back());
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = code.get(start + found.len()..).unwrap_or_default();
        match rest.strip_prefix('{') {
            Some(group) => {
                let group = group.split('}').next().unwrap_or_default();
                paths.extend(group.split(',').map(path_at).filter(|path| !path.is_empty()));
            }
            None => paths.push(path_at(rest)),
        }
    }
    paths
}

/// The longest module that the path begins with.
fn module_of(path: &str, modules: &BTreeSet<String>) -> Option<String> {
    let holds = |module: &&String| path == *module || path.starts_with(&format!("{module}::"));
    modules
        .iter()
        .filter(|module| !module.is_empty())
        .filter(holds)
        .max_by_key(|m| m.len())
        .cloned()
}

fn top_of(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

type Graph = BTreeMap<String, BTreeSet<String>>;

fn add_edge(graph: &mut Graph, source: &str, target: &str) {
    if source != target {
        graph.entry(source.to_owned()).or_default().insert(target.to_owned());
    }
}

/// What lies on cycles, if anything: what is left when modules that use nothing, or that nothing
/// uses, are taken out again and again.
fn cycle(graph: &Graph) -> Option<String> {
    let mut left = graph.clone();
    loop {
        let n_before = n_edges(&left);
        let users: BTreeSet<_> = left.keys().cloned().collect();
        let used: BTreeSet<_> = left.values().flatten().cloned().collect();
        left.retain(|user, _| used.contains(user));
        left.values_mut().for_each(|targets| targets.retain(|target| users.contains(target)));
        left.retain(|_, targets| !targets.is_empty());
        if n_edges(&left) == n_before {
            break;
        }
    }
    let show = |(user, targets): (&String, &BTreeSet<String>)| {
        format!("{user} -> {}", targets.iter().cloned().collect::<Vec<_>>().join(" | "))
    };
    let ways: Vec<_> = left.iter().map(show).collect();
    (!ways.is_empty()).then(|| format!("among\n    {}", ways.join("\n    ")))
}

fn n_edges(graph: &Graph) -> usize {
    graph.values().map(BTreeSet::len).sum()
}

fn has_word(line: &str, word: &str) -> bool {
    let is_inner = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        !before.is_some_and(is_inner)
    })
}

/// `http.port` for the field `port` of `HttpConfig`.
fn config_fields() -> BTreeSet<String> {
    let (mut fields, mut table) = (BTreeSet::new(), None);
    for line in read("cluster-config/src/config.rs").lines() {
        let opened =
            line.strip_prefix("pub struct ").and_then(|rest| rest.strip_suffix("Config {"));
        match (opened, line) {
            (Some(name), _) => table = Some(name.to_lowercase()),
            (None, "}") => table = None,
            _ => {}
        }
        let field = line.strip_prefix("    pub ").and_then(|rest| rest.split_once(':'));
        if let (Some(table), Some((field, _))) = (&table, field)
            && !table.is_empty()
        {
            fields.insert(format!("{table}.{field}"));
        }
    }
    fields
}

fn toml_keys(text: &str) -> BTreeSet<String> {
    let (mut keys, mut table) = (BTreeSet::new(), "");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = name;
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.insert(format!("{table}.{key}"));
        }
    }
    keys
}
