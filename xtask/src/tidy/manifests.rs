//! What the crates' manifests say: which crate may use which library.

use serde::Deserialize;

use super::Finding;

/// The part of `cargo metadata` that is looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) manifest_path: String,
    pub(super) dependencies: Vec<Dependency>,
}

impl Package {
    /// The last two parts of the manifest's path: `store/Cargo.toml`.
    pub(super) fn manifest(&self) -> String {
        let mut parts = self.manifest_path.rsplit(['/', '\\']);
        let (file, folder) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("{folder}/{file}")
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    kind: Option<String>,
    #[serde(default)]
    features: Vec<String>,
}

impl Dependency {
    pub(super) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// A library that only one crate may use.
struct Reserved {
    library: &'static str,
    /// Only with a feature whose name begins with this; empty: at all.
    feature: &'static str,
    owner: &'static str,
    reason: &'static str,
    /// Whether tests of other crates may use it.
    in_tests: bool,
}

const RESERVED: &[Reserved] = &[
    Reserved {
        library: "axum",
        feature: "",
        owner: "inshore-api",
        reason: "only the edge knows axum",
        in_tests: true,
    },
    Reserved {
        library: "rusqlite",
        feature: "",
        owner: "inshore-store",
        reason: "only the store knows SQL",
        in_tests: false,
    },
    Reserved {
        library: "libsqlite3-sys",
        feature: "",
        owner: "inshore-store",
        reason: "only the store knows SQL",
        in_tests: false,
    },
    Reserved {
        library: "llama-cpp-sys-2",
        feature: "",
        owner: "inshore-engine",
        reason: "only the engine runs models",
        in_tests: false,
    },
    Reserved {
        library: "reqwest",
        feature: "",
        owner: "inshore-providers",
        reason: "only providers open outbound connections",
        in_tests: false,
    },
    Reserved {
        library: "ureq",
        feature: "",
        owner: "inshore-providers",
        reason: "only providers open outbound connections",
        in_tests: false,
    },
    Reserved {
        library: "tokio-rustls",
        feature: "",
        owner: "inshore-providers",
        reason: "only providers open outbound connections",
        in_tests: true,
    },
    Reserved {
        library: "hyper-rustls",
        feature: "",
        owner: "inshore-providers",
        reason: "only providers open outbound connections",
        in_tests: false,
    },
    Reserved {
        library: "hyper-util",
        feature: "client",
        owner: "inshore-providers",
        reason: "only providers open outbound connections",
        in_tests: true,
    },
];

/// Libraries that no crate may use.
const BANNED: &[(&str, &str)] = &[
    ("openssl", "rustls is the one TLS stack; SQLCipher brings libcrypto by itself"),
    ("native-tls", "rustls is the one TLS stack"),
    ("sqlx", "its SQLite cannot be linked beside SQLCipher"),
    ("lazy_static", "std has LazyLock"),
    ("once_cell", "std has OnceLock and LazyLock"),
];

pub(super) fn check(metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            let what = RESERVED.iter().filter(|rule| rule.breaks(package, dependency)).map(|rule| {
                format!("`{}` may only be used by {}: {}", rule.library, rule.owner, rule.reason)
            });
            let banned = BANNED.iter().filter(|(name, _)| *name == dependency.name);
            let what = what.chain(banned.map(|(name, reason)| format!("`{name}` may not be used: {reason}")));
            findings.extend(what.map(|what| Finding::new(package.manifest(), what)));
        }
    }
    findings
}

impl Reserved {
    fn breaks(&self, package: &Package, dependency: &Dependency) -> bool {
        let used = dependency.name == self.library
            && (self.feature.is_empty()
                || dependency.features.iter().any(|feature| feature.starts_with(self.feature)));
        used && package.name != self.owner && !(self.in_tests && dependency.is_dev())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::tidy) fn workspace(packages: Vec<Package>) -> Metadata {
        Metadata { packages }
    }

    pub(in crate::tidy) fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|name| Dependency { name: (*name).into(), kind: None, features: Vec::new() })
            .collect();
        Package { name: name.into(), manifest_path: format!("/w/{name}/Cargo.toml"), dependencies }
    }

    pub(in crate::tidy) fn dev(name: &str) -> Dependency {
        Dependency { name: name.into(), kind: Some("dev".into()), features: Vec::new() }
    }

    fn findings(packages: Vec<Package>) -> Vec<String> {
        check(&workspace(packages)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_library_in_its_place_passes() {
        assert_eq!(
            findings(vec![package("inshore-store", &["rusqlite"]), package("inshore-api", &["axum"])]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_library_in_another_place_is_found() {
        assert_eq!(
            findings(vec![package("inshore-api", &["rusqlite"])]),
            [
                "inshore-api/Cargo.toml: `rusqlite` may only be used by inshore-store: only the store knows SQL"
            ]
        );
        assert_eq!(findings(vec![package("inshore-engine", &["openssl"])]).len(), 1);
    }

    #[test]
    fn only_the_clients_half_of_a_library_is_reserved() {
        let mut api = package("inshore-api", &["hyper-util"]);
        assert_eq!(findings(vec![package("inshore-api", &["hyper-util"])]).len(), 0);
        api.dependencies[0].features = vec!["tokio".into(), "client-legacy".into()];
        assert_eq!(findings(vec![api]).len(), 1);
    }

    #[test]
    fn tests_may_use_what_does_not_leave_the_machine() {
        let mut sim = package("inshore-sim", &[]);
        sim.dependencies = vec![dev("axum")];
        assert_eq!(findings(vec![sim]).len(), 0);
        let mut sim = package("inshore-sim", &[]);
        sim.dependencies = vec![dev("reqwest")];
        assert_eq!(findings(vec![sim]).len(), 1);
    }
}
