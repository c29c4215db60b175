//! Which tests `cargo test` runs of a package, by its sources as the compiler would read them: from the
//! root of each target through its modules, and without what a `cfg` leaves out.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use serde_json::Value;
use syn::{Attribute, Expr, Item, ItemMacro, ItemMod, Lit, Meta, Token, punctuated::Punctuated};

use super::{folder, suites::Package};

/// The names of a package's tests that are run.
pub(crate) fn tests(package: &Package) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let asked = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version=1"])
        .arg("--manifest-path")
        .arg(&package.manifest)
        .output()
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
    let metadata: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let (mut names, mut targets) = (BTreeSet::new(), 0);
    for described in metadata["packages"].as_array().unwrap() {
        let name = described["name"].as_str().unwrap();
        if package.name.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let cfg = Cfg {
            flags: package.flags.clone(),
            features: default_features(&described["features"]),
        };
        for target in described["targets"].as_array().unwrap() {
            if is_run(target, package, &cfg) {
                let root = Path::new(target["src_path"].as_str().unwrap());
                names.extend(Target::read(root, &cfg).tests());
                targets += 1;
            }
        }
    }
    assert!(targets > 0, "there is nothing to run of {package:?}");
    names
}

/// Whether `cargo test` runs that target.
fn is_run(target: &Value, package: &Package, cfg: &Cfg) -> bool {
    let name = target["name"].as_str().unwrap();
    let required = target["required-features"].as_array();
    let mut required = required.into_iter().flatten().filter_map(Value::as_str);
    target["test"] == true
        && package.target.as_deref().is_none_or(|only| only == name)
        && required.all(|feature| cfg.features.contains(feature))
}

/// The features that are on where nobody says otherwise.
fn default_features(all: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next = vec!["default".to_owned()];
    while let Some(feature) = next.pop() {
        let with = all[&feature].as_array().into_iter().flatten();
        next.extend(with.filter_map(Value::as_str).map(str::to_owned));
        found.insert(feature);
    }
    found
}

/// What the compiler is told of where it is.
#[derive(Debug, Default)]
struct Cfg {
    flags: Vec<String>,
    features: BTreeSet<String>,
}

type List = Punctuated<Meta, Token![,]>;

impl Cfg {
    /// Whether a predicate is true.
    fn holds(&self, predicate: &Meta) -> bool {
        let name = last_of(predicate.path());
        match predicate {
            Meta::Path(_) => match name.as_str() {
                "test" | "unix" | "debug_assertions" => true,
                flag => self.flags.iter().any(|on| on == flag),
            },
            Meta::NameValue(pair) => {
                let Expr::Lit(literal) = &pair.value else {
                    panic!("a cfg without a text: {name}");
                };
                let Lit::Str(text) = &literal.lit else {
                    panic!("a cfg without a text: {name}");
                };
                match name.as_str() {
                    "feature" => self.features.contains(&text.value()),
                    "target_os" => text.value() == std::env::consts::OS,
                    other => panic!("it is not known here what cfg({other}) is"),
                }
            }
            Meta::List(list) => {
                let inner = list.parse_args_with(List::parse_terminated).unwrap();
                match name.as_str() {
                    "all" => inner.iter().all(|it| self.holds(it)),
                    "any" => inner.iter().any(|it| self.holds(it)),
                    "not" => !inner.iter().any(|it| self.holds(it)),
                    other => panic!("it is not known here what cfg({other}) is"),
                }
            }
        }
    }

    /// What an attribute comes to: itself, or what a `cfg_attr` puts in its place.
    fn expanded(&self, attribute: &Meta) -> Vec<Meta> {
        let Meta::List(list) = attribute else {
            return vec![attribute.clone()];
        };
        if last_of(&list.path) != "cfg_attr" {
            return vec![attribute.clone()];
        }
        let inner = list.parse_args_with(List::parse_terminated).unwrap();
        let mut inner = inner.iter();
        if !inner.next().is_some_and(|predicate| self.holds(predicate)) {
            return Vec::new();
        }
        inner
            .flat_map(|attribute| self.expanded(attribute))
            .collect()
    }

    fn say<'a>(&self, attributes: impl IntoIterator<Item = &'a Meta>) -> Said {
        let mut said = Said::default();
        for attribute in attributes.into_iter().flat_map(|meta| self.expanded(meta)) {
            match last_of(attribute.path()).as_str() {
                "test" => said.is_test = true,
                "ignore" => said.is_left_out = true,
                "cfg" => {
                    let predicate = attribute.require_list().and_then(|list| list.parse_args());
                    said.is_left_out |= !self.holds(&predicate.unwrap());
                }
                _ => {}
            }
        }
        said
    }

    fn say_of(&self, attributes: &[Attribute]) -> Said {
        self.say(attributes.iter().map(|attribute| &attribute.meta))
    }
}

/// What attributes say of what is behind them.
#[derive(Debug, Default, Clone, Copy)]
struct Said {
    is_test: bool,
    /// It is not built, or not run unless it is asked for.
    is_left_out: bool,
}

fn last_of(path: &syn::Path) -> String {
    let last = path.segments.last().expect("a path has a segment");
    last.ident.to_string()
}

/// What one target has.
#[derive(Debug, Default)]
struct Target {
    /// Functions that an attribute makes tests.
    tests: BTreeSet<String>,
    /// All functions beside methods.
    functions: BTreeSet<String>,
    /// Macros that make tests of the functions that they are given.
    macros: BTreeSet<String>,
    /// Macros' names, and what they are given.
    given: Vec<(String, TokenStream)>,
}

impl Target {
    fn read(root: &Path, cfg: &Cfg) -> Self {
        let mut target = Self::default();
        target.read_file(root, root.parent().unwrap(), cfg);
        target
    }

    /// The names of its tests.
    fn tests(mut self) -> BTreeSet<String> {
        let is_test_macro = |name: &String| self.macros.contains(name);
        for (_, given) in self.given.iter().filter(|(name, _)| is_test_macro(name)) {
            let mut names = Vec::new();
            identifiers(given.clone(), &mut names);
            let names = names.into_iter();
            let functions = names.filter(|name| self.functions.contains(name));
            self.tests.extend(functions);
        }
        self.tests
    }

    /// Reads a file whose modules have their files below `modules`.
    fn read_file(&mut self, path: &Path, modules: &Path, cfg: &Cfg) {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        if !cfg.say_of(&file.attrs).is_left_out {
            self.take(&file.items, path, modules, cfg);
        }
    }

    fn take(&mut self, items: &[Item], path: &Path, modules: &Path, cfg: &Cfg) {
        for item in items {
            match item {
                Item::Fn(function) => {
                    let said = cfg.say_of(&function.attrs);
                    let name = function.sig.ident.to_string();
                    if said.is_test && !said.is_left_out {
                        self.tests.insert(name.clone());
                    }
                    self.functions.insert(name);
                }
                Item::Mod(module) if !cfg.say_of(&module.attrs).is_left_out => {
                    self.take_module(module, path, modules, cfg);
                }
                Item::Macro(used) if !cfg.say_of(&used.attrs).is_left_out => {
                    self.take_macro(used, cfg);
                }
                _ => {}
            }
        }
    }

    fn take_module(&mut self, module: &ItemMod, path: &Path, modules: &Path, cfg: &Cfg) {
        let name = module.ident.to_string();
        if let Some((_, items)) = &module.content {
            return self.take(items, path, &modules.join(name), cfg);
        }
        if let Some(elsewhere) = path_attribute(&module.attrs) {
            let path = path.parent().unwrap().join(elsewhere);
            return self.read_file(&path, path.parent().unwrap(), cfg);
        }
        let file = modules.join(format!("{name}.rs"));
        let below = modules.join(name);
        if file.is_file() {
            self.read_file(&file, &below, cfg);
        } else {
            self.read_file(&below.join("mod.rs"), &below, cfg);
        }
    }

    fn take_macro(&mut self, used: &ItemMacro, cfg: &Cfg) {
        let tokens = used.mac.tokens.clone();
        match &used.ident {
            Some(name) => {
                let tests = tests_in(tokens.clone(), cfg);
                if tests.are_there && !tests.are_left_out {
                    self.macros.insert(name.to_string());
                }
                // A macro that uses another one, or itself.
                uses(tokens, &mut self.given);
            }
            None => {
                // One that takes functions as they are, with their attributes.
                let tests = tests_in(tokens.clone(), cfg);
                self.tests.extend(tests.names);
                self.given.push((last_of(&used.mac.path), tokens));
            }
        }
    }
}

/// Where a module is that is not where its name says.
fn path_attribute(attributes: &[Attribute]) -> Option<PathBuf> {
    attributes.iter().find_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else {
            return None;
        };
        let Expr::Lit(literal) = &pair.value else {
            return None;
        };
        match &literal.lit {
            Lit::Str(text) if pair.path.is_ident("path") => Some(text.value().into()),
            _ => None,
        }
    })
}

/// What tokens have of functions with attributes.
#[derive(Debug, Default)]
struct TestsIn {
    are_there: bool,
    are_left_out: bool,
    /// Those that have a name already.
    names: Vec<String>,
}

fn tests_in(tokens: TokenStream, cfg: &Cfg) -> TestsIn {
    let mut found = TestsIn::default();
    let mut attributes = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                let Some(TokenTree::Group(group)) = tokens.peek() else {
                    continue;
                };
                if group.delimiter() == Delimiter::Bracket {
                    // What has a macro's variables in it is not for us.
                    attributes.extend(syn::parse2::<Meta>(group.stream()));
                    tokens.next();
                }
            }
            TokenTree::Group(group) => {
                let inner = tests_in(group.stream(), cfg);
                found.are_there |= inner.are_there;
                found.are_left_out |= inner.are_left_out;
                found.names.extend(inner.names);
                if group.delimiter() == Delimiter::Brace {
                    attributes.clear();
                }
            }
            TokenTree::Ident(word) if word == "fn" => {
                let said = cfg.say(&attributes);
                attributes.clear();
                found.are_there |= said.is_test;
                found.are_left_out |= said.is_test && said.is_left_out;
                if let Some(TokenTree::Ident(name)) = tokens.peek()
                    && said.is_test
                    && !said.is_left_out
                {
                    found.names.push(name.to_string());
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => attributes.clear(),
            _ => {}
        }
    }
    found
}

/// Which macros tokens use, and what those are given.
fn uses(tokens: TokenStream, found: &mut Vec<(String, TokenStream)>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    for token in &tokens {
        if let TokenTree::Group(group) = token {
            uses(group.stream(), found);
        }
    }
    for three in tokens.windows(3) {
        if let [
            TokenTree::Ident(name),
            TokenTree::Punct(punct),
            TokenTree::Group(group),
        ] = three
            && punct.as_char() == '!'
        {
            found.push((name.to_string(), group.stream()));
        }
    }
}

fn identifiers(tokens: TokenStream, found: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => identifiers(group.stream(), found),
            TokenTree::Ident(name) => found.push(name.to_string()),
            _ => {}
        }
    }
}

const SAMPLE: &str = r##"
#![allow(dead_code)]

fn helper() {}

/// With words.
#[test]
fn plain() { helper() }

#[tokio::test(flavor = "multi_thread")]
#[allow(dead_code, reason = "it is a sample")]
pub(crate) async fn asynchronous<F: Fanout>() {}

#[cfg(test)]
fn only_built_for_tests() {}

#[test]
#[ignore = "takes minutes"]
fn ignored() {}

#[test]
#[cfg_attr(not(windows), ignore)]
fn ignored_here() {}

#[test]
#[cfg_attr(windows, ignore)]
fn ignored_elsewhere() {}

#[cfg_attr(unix, test)]
fn a_test_here() {}

#[cfg(any())]
#[test]
fn left_out() {}

#[cfg(any())]
mod nowhere { #[test] fn in_a_module_that_is_left_out() {} }

// #[test] fn commented_out() {}
/*
#[test]
fn also_commented_out() {}
*/
const TEXT: &str = "#[test] fn in_a_text() {}";

#[cfg(feature = "on")]
#[test]
fn with_a_feature() {}

#[cfg(feature = "off")]
#[test]
fn without_a_feature() {}

macro_rules! on_both {
    ($($test:ident),*) => { $(#[tokio::test] async fn $test() {})* };
}
macro_rules! some { ($name:ident: [$($test:ident),*]) => { on_both!(from_a_macro, $($test),*); } }
macro_rules! helpers { ($($name:ident),*) => { $(fn $name() {})* }; }
macro_rules! ignoring { ($($name:ident),*) => { $(#[test] #[ignore] fn $name() {})* }; }
on_both!(given, not_declared);
on_both! { in_braces }
#[cfg(any())]
on_both!(given_to_nothing);
// on_both!(given_in_a_comment);
helpers!(no_test);
ignoring!(given_and_ignored);
properties! { #[test] fn of_a_macro(x in 0..3) {} #[test] #[ignore] fn of_a_macro_and_ignored() {} }
fn given() {}
fn in_braces() {}
fn from_a_macro() {}
fn given_to_nothing() {}
fn given_in_a_comment() {}
fn given_and_ignored() {}
fn no_test() {}

mod below;
#[path = "elsewhere/other.rs"]
mod moved;
#[cfg(feature = "off")]
mod switched_off;
"##;

#[test]
fn a_function_is_a_test_if_it_is_built_and_run_as_one() {
    let folder = folder(&[
        ("main.rs", SAMPLE),
        ("below.rs", "mod further; #[test] fn in_a_file() {}"),
        ("below/further/mod.rs", "#[test] fn further_down() {}"),
        ("elsewhere/other.rs", "#[test] fn by_its_path() {}"),
        (
            "switched_off.rs",
            "#[test] fn in_a_file_that_is_left_out() {}",
        ),
        ("stray.rs", "#[test] fn in_a_file_that_nobody_names() {}"),
    ]);
    let cfg = Cfg {
        flags: Vec::new(),
        features: ["on".to_owned()].into(),
    };
    let found = Target::read(&folder.path().join("main.rs"), &cfg).tests();
    let expected = [
        "plain",
        "asynchronous",
        "ignored_elsewhere",
        "a_test_here",
        "with_a_feature",
        "given",
        "in_braces",
        "from_a_macro",
        "of_a_macro",
        "in_a_file",
        "further_down",
        "by_its_path",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
}
