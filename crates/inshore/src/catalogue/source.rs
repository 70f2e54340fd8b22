//! Where a pull comes from.

use anyhow::{Result, bail};

/// A file on the web that is meant to be a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// What people wrote, without a query that might hold a key.
    pub(crate) shown: String,
    /// Where the bytes are.
    pub(crate) url: String,
    /// The file's own name.
    pub(crate) file: String,
}

impl Source {
    /// Reads `hf:OWNER/REPO/FILE.gguf`, `hf:OWNER/REPO/FOLDER/FILE.gguf@REVISION`, or a web address.
    pub(crate) fn parse(text: &str, hub: &str) -> Result<Self> {
        match text.strip_prefix("hf:") {
            Some(path) => Self::on_hub(text, path, hub),
            None if text.starts_with("https://") || text.starts_with("http://") => Self::on_web(text),
            None => bail!("`{text}` is neither `hf:OWNER/REPO/FILE.gguf` nor a web address"),
        }
    }

    fn on_hub(text: &str, path: &str, hub: &str) -> Result<Self> {
        let (path, revision) = path.rsplit_once('@').unwrap_or((path, "main"));
        let mut parts = path.splitn(3, '/');
        let (Some(owner), Some(repo), Some(file)) = (parts.next(), parts.next(), parts.next()) else {
            bail!("`{text}` is not of the form `hf:OWNER/REPO/FILE.gguf`");
        };
        let safe = |part: &str| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            !part.is_empty() && part != "." && part != ".." && part.bytes().all(good)
        };
        if ![owner, repo, revision].into_iter().all(safe) || !file.split('/').all(safe) {
            bail!(
                "`{text}` holds characters that a hub does not use: letters, digits, `.`, `_`, `-` and `/` only"
            );
        }
        if !file.ends_with(".gguf") {
            bail!(
                "`{file}` is not a GGUF file: look for one that ends in `.gguf` among the files of `{owner}/{repo}`"
            );
        }
        let url = format!("{}/{owner}/{repo}/resolve/{revision}/{file}", hub.trim_end_matches('/'));
        let name = file.rsplit('/').next().unwrap_or(file);
        Ok(Self { shown: text.to_owned(), url, file: name.to_owned() })
    }

    fn on_web(text: &str) -> Result<Self> {
        let path = text.split(['?', '#']).next().unwrap_or(text);
        let (_, rest) = path.split_once("://").unwrap_or(("", path));
        let Some((authority, file)) = rest.split_once('/') else { bail!("`{path}` names no file") };
        if authority.contains('@') {
            bail!("the address holds a user name or password");
        }
        let file = file.rsplit('/').next().unwrap_or_default();
        if file.is_empty() {
            bail!("`{path}` names no file");
        }
        Ok(Self { shown: path.to_owned(), url: text.to_owned(), file: file.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HUB: &str = "https://huggingface.co/";

    #[test]
    fn hub_names_become_addresses() {
        let source = Source::parse("hf:Qwen/Qwen3-4B-GGUF/Qwen3-4B-Q4_K_M.gguf", HUB).unwrap();
        assert_eq!(source.url, "https://huggingface.co/Qwen/Qwen3-4B-GGUF/resolve/main/Qwen3-4B-Q4_K_M.gguf");
        assert_eq!(source.file, "Qwen3-4B-Q4_K_M.gguf");
        let source = Source::parse("hf:o/r/sub/f.gguf@v1.0", HUB).unwrap();
        assert_eq!(
            (source.url.as_str(), source.file.as_str()),
            ("https://huggingface.co/o/r/resolve/v1.0/sub/f.gguf", "f.gguf")
        );
        for bad in [
            "hf:o/r",
            "hf:o/r/f.bin",
            "hf:o/../f.gguf",
            "hf:o/r/../f.gguf",
            "hf:o/r/a?b.gguf",
            "hf://f.gguf",
            "f.gguf",
        ] {
            assert!(Source::parse(bad, HUB).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_signed_address_is_not_shown_whole() {
        let source = Source::parse("https://a.test/x/m.gguf?signature=secret", HUB).unwrap();
        assert_eq!(source.shown, "https://a.test/x/m.gguf");
        assert_eq!(source.file, "m.gguf");
        assert!(Source::parse("https://me:pw@a.test/m.gguf", HUB).is_err());
        assert!(Source::parse("https://a.test/", HUB).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_source_or_not(text in "(hf:|https://)?[a-z./@?#-]{0,40}") {
            let _ = Source::parse(&text, HUB);
        }
    }
}
