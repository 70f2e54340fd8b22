//! Text that must not be seen.

use std::fmt;

use http::HeaderValue;
use zeroize::Zeroizing;

/// A key or token. It cannot be printed, is wiped from memory when dropped, and is only ever written into a header of
/// a call to the destination it was handed in for.
///
/// Not guaranteed: buffers of the HTTP and TLS layers below hold copies while a call is under way, which are freed but
/// not wiped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps the text; white space around it (a newline at the end of a key file) is not part of it.
    pub fn new(text: impl Into<String>) -> Self {
        let text = Zeroizing::new(text.into());
        Self(Zeroizing::new(text.trim().to_owned()))
    }

    /// The text after `prefix` as a header value that is marked sensitive, so that neither `Debug` nor HTTP/2 header
    /// compression shows it. `None` when the text cannot stand in a header.
    pub(crate) fn header(&self, prefix: &str) -> Option<HeaderValue> {
        let text = Zeroizing::new(format!("{prefix}{}", self.0.as_str()));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// `text` with every occurrence of the secret replaced: for words that come from a provider, which may quote it.
    pub(crate) fn redact(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(self.0.as_str(), "[key]") }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([hidden])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_the_secret() {
        let secret = Secret::new("sk-very-secret\n");
        let header = secret.header("Bearer ").unwrap();
        assert_eq!(header.as_bytes(), b"Bearer sk-very-secret");
        assert!(!format!("{secret:?} {header:?}").contains("very"));
        assert_eq!(secret.redact("bad key sk-very-secret!"), "bad key [key]!");
    }

    #[test]
    fn a_key_that_cannot_stand_in_a_header_is_refused() {
        assert!(Secret::new("two\nlines").header("").is_none());
    }
}
