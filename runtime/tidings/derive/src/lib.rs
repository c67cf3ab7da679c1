//! `#[derive(Event)]`: a type's topic, name and ordering key, written once.
//!
//! All that can be told from the type alone is told here, with the place of the mistake marked:
//! a name outside the grammar, a key that is no field, an option that does not exist.

mod options;

mod expand;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `tidings::Event`.
///
/// ```text
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(topic = "users", kind = "user.signed_up.v1", key = user_id)]
/// struct UserSignedUp { user_id: Uuid, email: String }
/// ```
///
/// - `topic = "…"`: where events of this type are published. `[a-z0-9._-]`, dots between tokens.
/// - `kind = "…"`: the name of the type on the wire, with its version at the end: `.v1`.
/// - `key = field` or `key = outer.inner`: events with the same key are handled in order. The field
///   is shown with `Display`. `unordered` instead of a key: each event stands for itself.
/// - `codec = "json"` (as without it) or `codec = "bincode"`.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let expanded = options::Options::of(&input).map(|options| expand::expand(&input, &options));
    expanded.unwrap_or_else(syn::Error::into_compile_error).into()
}
