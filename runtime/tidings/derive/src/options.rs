//! What stands in `#[event(…)]`, checked.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::parse::Parse;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, LitStr, Member, Result, Token};

const EXAMPLE: &str = "#[event(topic = \"users\", kind = \"user.signed_up.v1\", key = user_id)]";
const NAME_BYTES_MAX: usize = 128;
const KIND_BYTES_MAX: usize = 255;

/// The way from the event to the field that is its key.
pub(crate) type KeyPath = Punctuated<Member, Token![.]>;

/// See the module's description.
pub(crate) struct Options {
    pub(crate) topic: LitStr,
    pub(crate) kind: LitStr,
    /// `None`: unordered.
    pub(crate) key: Option<KeyPath>,
    pub(crate) codec: Codec,
}

/// How the content is encoded.
#[derive(Clone, Copy)]
pub(crate) enum Codec {
    Json,
    Bincode,
}

impl Options {
    /// Reads and checks the attributes of a type.
    pub(crate) fn of(input: &DeriveInput) -> Result<Self> {
        let mut draft = Draft::default();
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("event")) {
            draft.place = Some(attribute.span());
            attribute.parse_nested_meta(|meta| draft.take(&meta))?;
        }
        draft.finish(input)
    }
}

#[derive(Default)]
struct Draft {
    place: Option<Span>,
    topic: Option<LitStr>,
    kind: Option<LitStr>,
    key: Option<KeyPath>,
    unordered: Option<Span>,
    codec: Option<Codec>,
}

impl Draft {
    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("topic") {
            return once(meta, &mut self.topic, value(meta)?);
        }
        if meta.path.is_ident("kind") {
            return once(meta, &mut self.kind, value(meta)?);
        }
        if meta.path.is_ident("key") {
            let path = Punctuated::parse_separated_nonempty(meta.value()?);
            let path = path.map_err(|error| {
                Error::new(error.span(), "`key` names a field, without quotes: `key = user_id`")
            })?;
            return once(meta, &mut self.key, path);
        }
        if meta.path.is_ident("unordered") {
            return once(meta, &mut self.unordered, meta.path.span());
        }
        if meta.path.is_ident("codec") {
            return once(meta, &mut self.codec, codec(&value(meta)?)?);
        }
        Err(meta.error("unknown option; there are `topic`, `kind`, `key`, `unordered` and `codec`"))
    }

    fn finish(self, input: &DeriveInput) -> Result<Options> {
        let Some(place) = self.place else {
            let message = format!("an event says where it goes; add `{EXAMPLE}`");
            return Err(Error::new(input.ident.span(), message));
        };
        let mut problems = Vec::new();
        let missing =
            |what: &str| Error::new(place, format!("{what} is missing, as in `{EXAMPLE}`"));
        match &self.topic {
            None => problems.push(missing("`topic`")),
            Some(topic) => problems.extend(check_topic(topic).err()),
        }
        match &self.kind {
            None => problems.push(missing("`kind`")),
            Some(kind) => problems.extend(check_kind(kind).err()),
        }
        match (&self.key, self.unordered) {
            (None, None) => problems.push(Error::new(
                place,
                "`key` is missing: name the field whose events are handled in order, as in \
                 `key = user_id`, or say `unordered`",
            )),
            (Some(key), Some(_)) => {
                problems.push(Error::new(key.span(), "an event is `unordered` or has a `key`"));
            }
            (Some(key), None) => problems.extend(check_key(key, input).err()),
            (None, Some(_)) => {}
        }
        let all = problems.into_iter().reduce(|mut all, problem| {
            all.combine(problem);
            all
        });
        match (all, self.topic, self.kind) {
            (None, Some(topic), Some(kind)) => {
                let codec = self.codec.unwrap_or(Codec::Json);
                Ok(Options { topic, kind, key: self.key, codec })
            }
            (all, ..) => Err(all.unwrap_or_else(|| missing("`topic` or `kind`"))),
        }
    }
}

fn value<T: Parse>(meta: &ParseNestedMeta<'_>) -> Result<T> {
    meta.value()?.parse()
}

fn once<T>(meta: &ParseNestedMeta<'_>, slot: &mut Option<T>, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(meta.error("this option is given twice")),
    }
}

fn codec(name: &LitStr) -> Result<Codec> {
    match name.value().as_str() {
        "json" => Ok(Codec::Json),
        "bincode" => Ok(Codec::Bincode),
        _ => Err(Error::new(name.span(), "unknown codec; there are \"json\" and \"bincode\"")),
    }
}

fn check_topic(topic: &LitStr) -> Result<()> {
    let name = topic.value();
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let has_tokens = name.split('.').all(|token| !token.is_empty());
    if name.len() <= NAME_BYTES_MAX && has_tokens && name.chars().all(is_allowed) {
        return Ok(());
    }
    let message = "a topic has 1 to 128 characters of a-z, 0-9, '.', '_' and '-', and something \
                   between its dots";
    Err(Error::new(topic.span(), message))
}

fn check_kind(kind: &LitStr) -> Result<()> {
    let name = kind.value();
    let version = name.rsplit_once(".v").filter(|(family, _)| !family.is_empty());
    let is_number =
        |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !version.is_some_and(|(_, digits)| is_number(digits)) {
        let message = format!(
            "a type has its version at the end, so that it can change one day: \"{name}.v1\""
        );
        return Err(Error::new(kind.span(), message));
    }
    if name.len() <= KIND_BYTES_MAX && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let message = "a type has 1 to 255 visible ASCII characters, none of them a space";
    Err(Error::new(kind.span(), message))
}

fn check_key(key: &KeyPath, input: &DeriveInput) -> Result<()> {
    let Data::Struct(data) = &input.data else {
        let message = "only a struct has fields; write `unordered`, or implement `Event` by hand";
        return Err(Error::new(key.span(), message));
    };
    let Some(first) = key.first() else { return Ok(()) };
    let members: Vec<Member> = data.fields.members().collect();
    if members.contains(first) {
        return Ok(());
    }
    let name = |member: &Member| match member {
        Member::Named(name) => format!("`{name}`"),
        Member::Unnamed(index) => format!("`{}`", index.index),
    };
    let message = match &data.fields {
        Fields::Unit => format!("`{}` has no fields; write `unordered`", input.ident),
        _ => {
            let names: Vec<_> = members.iter().map(name).collect();
            format!("`{}` has no field {}; it has {}", input.ident, name(first), names.join(", "))
        }
    };
    Err(Error::new(first.span(), message))
}
