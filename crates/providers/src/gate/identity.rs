//! How this side shows itself at one destination, and whom it trusts there.

use std::fmt;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::GateOptions;
use super::connect::{system_roots, tls_config};

/// A client certificate, certificate authorities, or both, for calls to one destination. Cheap to clone; two are equal when
/// they were made of the same text. `Debug` shows none of it.
#[derive(Clone)]
pub struct TlsIdentity(Arc<Inner>);

struct Inner {
    /// Of everything it was made of.
    fingerprint: [u8; 32],
    client: Option<Arc<SingleCertAndKey>>,
    /// Nobody else is trusted; `None` trusts whom the system trusts.
    authorities: Option<Arc<RootCertStore>>,
    /// Made at the first call, as the gate's own.
    config: OnceLock<Result<Arc<ClientConfig>, String>>,
}

/// Text that makes no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentity {
    /// Neither a client certificate nor authorities.
    #[error("an identity needs a client certificate or a certificate authority")]
    Empty,
    /// No certificate in the client's file.
    #[error("the file of the client certificate holds no certificate in PEM")]
    Certificate,
    /// No key in the client's file.
    #[error("the file of the client key holds no private key in PEM that can be used")]
    Key,
    /// The two do not belong together.
    #[error("the client key does not belong to the client certificate")]
    Mismatch,
    /// No certificate in the authorities' file.
    #[error("the file of the certificate authority holds no certificate in PEM that can be used")]
    Authority,
}

impl TlsIdentity {
    /// An identity of texts in PEM (RFC 7468): the client's certificate, with those between it and its authority behind it,
    /// and its key; and the authorities that are trusted instead of the system's.
    pub fn from_pem(client: Option<(&[u8], &[u8])>, authorities: Option<&[u8]>) -> Result<Self, BadIdentity> {
        if client.is_none() && authorities.is_none() {
            return Err(BadIdentity::Empty);
        }
        let mut digest = Sha256::new();
        let (certificate, key) = client.unwrap_or_default();
        for text in [certificate, key, authorities.unwrap_or_default()] {
            digest.update(text.len().to_le_bytes());
            digest.update(text);
        }
        let inner = Inner {
            fingerprint: digest.finalize().into(),
            client: client.map(|(certificate, key)| certified(certificate, key)).transpose()?,
            authorities: authorities.map(roots).transpose()?,
            config: OnceLock::new(),
        };
        Ok(Self(Arc::new(inner)))
    }

    pub(super) fn config(&self, options: &GateOptions) -> Result<Arc<ClientConfig>, String> {
        let make = || {
            let roots = match &self.0.authorities {
                Some(roots) => roots.clone(),
                None => system_roots(options)?,
            };
            tls_config(roots, self.0.client.clone()).map(Arc::new)
        };
        self.0.config.get_or_init(make).clone()
    }
}

fn certified(certificate: &[u8], key: &[u8]) -> Result<Arc<SingleCertAndKey>, BadIdentity> {
    let chain = certificates(certificate).ok_or(BadIdentity::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| BadIdentity::Key)?;
    let key = ring::sign::any_supported_type(&key).map_err(|_| BadIdentity::Key)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|_| BadIdentity::Mismatch)?;
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}

fn roots(authorities: &[u8]) -> Result<Arc<RootCertStore>, BadIdentity> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(authorities).ok_or(BadIdentity::Authority)? {
        roots.add(authority).map_err(|_| BadIdentity::Authority)?;
    }
    Ok(Arc::new(roots))
}

/// All certificates of a file; `None` when there is none, or one that is broken.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!all.is_empty()).then_some(all)
}

impl PartialEq for TlsIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.0.fingerprint == other.0.fingerprint
    }
}

impl Eq for TlsIdentity {}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("client_certificate", &self.0.client.is_some())
            .field("own_authorities", &self.0.authorities.is_some())
            .finish_non_exhaustive()
    }
}
