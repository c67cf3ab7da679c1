//! The implementation that the macro writes.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::DeriveInput;
use syn::spanned::Spanned;

use crate::options::{Codec, Options};

/// Writes `impl Event for …`.
pub(crate) fn expand(input: &DeriveInput, options: &Options) -> TokenStream {
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let Options { topic, kind, key, codec } = options;
    // The field's place, so that a key without `Display` is marked and not the derive.
    let key = match key {
        Some(path) => quote_spanned!(path.span()=> &self.#path),
        None => quote!(""),
    };
    // The type's place, so that a missing `Serialize` is told about the type.
    let codec = match codec {
        Codec::Json => quote_spanned!(name.span()=> ::tidings::codec::Json),
        Codec::Bincode => quote_spanned!(name.span()=> ::tidings::codec::Bincode),
    };
    quote! {
        #[automatically_derived]
        impl #generics ::tidings::Event for #name #arguments #bounds {
            const TOPIC: &'static str = #topic;
            const KIND: &'static str = #kind;

            fn key(&self) -> impl ::core::fmt::Display {
                #key
            }

            fn encode(
                &self,
                target: &mut ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<(), ::tidings::codec::EncodeError> {
                #codec::encode(self, target)
            }

            fn decode(
                payload: &[u8],
            ) -> ::core::result::Result<Self, ::tidings::codec::DecodeError> {
                #codec::decode(payload)
            }
        }
    }
}
