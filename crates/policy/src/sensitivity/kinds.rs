//! What can be found, and how harmful each is.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use inshore_domain::Sensitivity;
use inshore_domain::Sensitivity::{Confidential, Internal, Restricted};

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The word in findings, policies and config: `iban`.
    pub name: &'static str,
    /// How sensitive text is that holds one, unless the config says otherwise.
    pub label: Sensitivity,
    /// The word in the placeholder that hides one; `None`: there is nothing to hide.
    pub placeholder: Option<&'static str>,
}

macro_rules! kinds {
    ($($constant:ident $name:literal $label:ident $placeholder:expr;)*) => {
        $(#[doc = concat!("`", $name, "`.")] pub const $constant: &str = $name;)*
        /// All that the detector itself knows. Configured recognisers add their own.
        pub const KINDS: &[Kind] = &[$(Kind { name: $name, label: $label, placeholder: $placeholder }),*];
    };
}

kinds! {
    EMAIL "email" Internal Some("EMAIL");
    PHONE "phone" Internal Some("PHONE");
    PERSON "person" Internal Some("PERSON");
    ADDRESS "address" Internal Some("ADDRESS");
    ORGANISATION "organisation" Internal Some("COMPANY");
    IP_ADDRESS "ip-address" Internal Some("IP");
    MAC_ADDRESS "mac-address" Internal Some("MAC");
    COORDINATES "coordinates" Internal Some("PLACE");
    WALLET "crypto-address" Internal Some("WALLET");
    BIRTH_DATE "date-of-birth" Internal Some("BIRTHDATE");
    PLATE "licence-plate" Internal Some("PLATE");
    ACCOUNT "bank-account" Confidential Some("ACCOUNT");
    CARD "payment-card" Confidential Some("CARD");
    IBAN "iban" Confidential Some("IBAN");
    NATIONAL_ID "national-id" Confidential Some("NATIONALID");
    TAX_NUMBER "tax-number" Confidential Some("TAXID");
    PASSPORT "passport" Confidential Some("PASSPORT");
    DRIVING_LICENCE "driving-licence" Confidential Some("LICENCE");
    MEDICAL_RECORD "medical-record" Confidential Some("RECORD");
    PRIVATE_KEY "private-key" Confidential Some("PRIVATEKEY");
    API_KEY "api-key" Confidential Some("APIKEY");
    JWT "jwt" Confidential Some("TOKEN");
    CONNECTION_STRING "connection-string" Confidential Some("CONNECTION");
    PASSWORD "password" Confidential Some("PASSWORD");
    MARKED_CONFIDENTIAL "marked-confidential" Confidential None;
    MARKED_RESTRICTED "marked-restricted" Restricted None;
}

/// The kind of that name, if the detector itself knows it.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// Most kinds kept beyond those of [`KINDS`]: an installation has a few dozen.
pub const MAX_KINDS: usize = 256;

/// The word as one of the program, so that findings cost nothing to pass on. What is only configured or only in a case is kept for good,
/// each once; `None`: there are too many.
pub(crate) fn kept(name: &str) -> Option<&'static str> {
    static KEPT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    if let Some(known) = kind(name) {
        return Some(known.name);
    }
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept.get(name) {
        return Some(known);
    }
    if kept.len() == MAX_KINDS {
        return None;
    }
    let new: &'static str = name.to_owned().leak();
    kept.insert(new);
    Some(new)
}
