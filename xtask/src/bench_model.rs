//! Models with random weights in real shapes: speed does not depend on what the weights are, and nothing has to be
//! downloaded to measure it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::synth::{self, Shape, Weights};

/// Every bench model is made from this seed, so that two machines measure the same file.
const SEED: u64 = 20_260_101;

/// What is to be written where.
#[derive(Debug)]
struct Order {
    shape: Shape,
    out: PathBuf,
}

/// Writes the model that the arguments describe.
#[expect(clippy::print_stderr, reason = "a program for the terminal")]
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let Order { shape, out } = parse(arguments)?;
    ensure!(!out.exists(), "`{}` is there already", out.display());
    let bytes = write(&shape, &out)?;
    eprintln!("{}: {:.1} MB", out.display(), bytes as f64 / 1e6);
    Ok(())
}

/// Writes beside the target first: a file under its real name is always whole.
fn write(shape: &Shape, out: &Path) -> Result<u64> {
    let part = out.with_added_extension("part");
    let file = File::create(&part).with_context(|| format!("`{}` cannot be written", part.display()))?;
    let mut to = BufWriter::with_capacity(1 << 20, file);
    synth::llama_model(shape, SEED, &mut to)
        .with_context(|| format!("`{}` cannot be written", part.display()))?;
    to.flush()?;
    let bytes = to.get_ref().metadata()?.len();
    std::fs::rename(&part, out).with_context(|| format!("`{}` cannot be written", out.display()))?;
    Ok(bytes)
}

fn parse(arguments: &[&str]) -> Result<Order> {
    let (mut shape, mut quant, mut out) = (None, None, None);
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let value = *rest.next().with_context(|| format!("`{flag}` needs a value"))?;
        let slot = match *flag {
            "--shape" => &mut shape,
            "--quant" => &mut quant,
            "--out" => &mut out,
            other => bail!("unknown flag `{other}`, expected --shape, --quant or --out"),
        };
        *slot = Some(value);
    }
    let weights = match quant.context("--quant is missing: q4_0, q8_0 or f16")? {
        "q4_0" => Weights::Q4_0,
        "q8_0" => Weights::Q8_0,
        "f16" => Weights::F16,
        other => bail!("unknown quantization `{other}`, expected q4_0, q8_0 or f16"),
    };
    let shape = match shape.context("--shape is missing: 0.5b or 1b")? {
        "0.5b" => Shape::half_billion(weights),
        "1b" => Shape::one_billion(weights),
        other => bail!("unknown shape `{other}`, expected 0.5b or 1b"),
    };
    Ok(Order { shape, out: out.context("--out is missing: the file to write")?.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &[&str]) -> String {
        parse(arguments).unwrap_err().to_string()
    }

    #[test]
    fn arguments_say_what_is_written() {
        let order = parse(&["--quant", "q8_0", "--out", "a.gguf", "--shape", "1b"]).unwrap();
        assert_eq!((order.shape.width, order.shape.weights), (2048, Weights::Q8_0));
        assert_eq!(order.out, Path::new("a.gguf"));
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        assert_eq!(refused(&["--shape"]), "`--shape` needs a value");
        assert_eq!(refused(&["--shpe", "1b"]), "unknown flag `--shpe`, expected --shape, --quant or --out");
        assert_eq!(
            refused(&["--quant", "q9", "--shape", "1b"]),
            "unknown quantization `q9`, expected q4_0, q8_0 or f16"
        );
        assert_eq!(refused(&["--quant", "f16", "--shape", "7b"]), "unknown shape `7b`, expected 0.5b or 1b");
        assert_eq!(refused(&["--quant", "f16", "--shape", "1b"]), "--out is missing: the file to write");
    }

    #[test]
    fn a_file_is_whole_under_its_name_and_the_same_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.gguf"), folder.path().join("b.gguf"));
        let bytes = write(&Shape::tiny(), &a).unwrap();
        write(&Shape::tiny(), &b).unwrap();
        let content = std::fs::read(&a).unwrap();
        assert_eq!(content.len() as u64, bytes);
        assert!(content.starts_with(b"GGUF"));
        assert_eq!(content, std::fs::read(&b).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no part is left");
    }
}
