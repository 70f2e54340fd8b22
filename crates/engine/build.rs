//! Compiles ggml's CPU code several times over, once for each generation of x86-64 processors, so that the engine can choose
//! when it starts. The copy that llama-cpp-sys-2 links in is the slowest of them, and runs everywhere.
//!
//! Each copy becomes a shared object that is embedded in the program (`src/child/cpu.rs` loads the best one). What
//! a copy needs of the rest of ggml it calls through a table of addresses, which the program fills in: so the program needs
//! no linker flags and exports nothing.
//!
//! Only for Linux on x86-64 with a GNU-like compiler. Elsewhere the linked copy serves.

#![expect(clippy::disallowed_methods, reason = "a build script is told everything by environment variables")]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

type Failure = Box<dyn std::error::Error>;

/// A copy of the CPU code: its name (as ggml calls it) and the instruction sets that it may use, as the compiler calls them.
struct Variant {
    name: &'static str,
    sets: &'static [&'static str],
}

const HASWELL: &[&str] = &["sse4.2", "avx", "avx2", "fma", "f16c", "bmi2"];

/// Best first, as the engine tries them. From ggml's own list (ggml/src/CMakeLists.txt) those that matter for speed on
/// machines that people have; AMX is left out, it needs a permission that the sandbox does not give.
const VARIANTS: &[Variant] = &[
    Variant {
        name: "zen4",
        sets: &[
            "avx512f",
            "avx512cd",
            "avx512vl",
            "avx512dq",
            "avx512bw",
            "avx512vbmi",
            "avx512vnni",
            "avx512bf16",
        ],
    },
    Variant {
        name: "icelake",
        sets: &["avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw", "avx512vbmi", "avx512vnni"],
    },
    Variant { name: "skylakex", sets: &["avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"] },
    Variant { name: "alderlake", sets: &["avxvnni"] },
    Variant { name: "haswell", sets: &[] },
];

/// Below ggml/src.
const C_SOURCES: &[&str] = &["ggml-cpu/ggml-cpu.c", "ggml-cpu/quants.c", "ggml-cpu/arch/x86/quants.c"];
const CPP_SOURCES: &[&str] = &[
    "ggml-cpu/ggml-cpu.cpp",
    "ggml-cpu/repack.cpp",
    "ggml-cpu/hbm.cpp",
    "ggml-cpu/traits.cpp",
    "ggml-cpu/amx/amx.cpp",
    "ggml-cpu/amx/mmq.cpp",
    "ggml-cpu/tiled/tiled.cpp",
    "ggml-cpu/tiled/tiled-kernel.cpp",
    "ggml-cpu/binary-ops.cpp",
    "ggml-cpu/unary-ops.cpp",
    "ggml-cpu/vec.cpp",
    "ggml-cpu/ops.cpp",
    "ggml-cpu/llamafile/sgemm.cpp",
    "ggml-cpu/arch/x86/repack.cpp",
];

fn main() -> Result<(), Failure> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/child/cpu_imports.txt");
    println!("cargo:rerun-if-env-changed=INSHORE_CPU_VARIANTS");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let imports = fs::read_to_string("src/child/cpu_imports.txt")?;
    let imports: Vec<&str> = imports.lines().filter(|line| !line.is_empty()).collect();
    let wanted = if has_variants() { wanted()? } else { Vec::new() };
    let mut objects = Vec::new();
    if !wanted.is_empty() {
        let source = ggml_source()?;
        for variant in wanted {
            objects.push((variant.name, build(variant, &source, &imports, &out)?));
        }
    }
    fs::write(out.join("cpu_variants.rs"), table(&objects, &imports)?)?;
    Ok(())
}

fn has_variants() -> bool {
    let is = |key: &str, value: &str| env::var(key).is_ok_and(|found| found == value);
    is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_OS", "linux")
}

/// All of them in a release build. In a debug build only the one that nearly every machine can use, for each costs about a
/// minute and a half of a core. `INSHORE_CPU_VARIANTS=all`, `none` or a list of names says otherwise.
fn wanted() -> Result<Vec<&'static Variant>, Failure> {
    let by_default = if env::var("PROFILE")? == "release" { "all" } else { "haswell" };
    let asked = env::var("INSHORE_CPU_VARIANTS").unwrap_or_else(|_| by_default.to_owned());
    match asked.as_str() {
        "all" => return Ok(VARIANTS.iter().collect()),
        "none" => return Ok(Vec::new()),
        _ => {}
    }
    let names: Vec<&str> = asked.split(',').map(str::trim).collect();
    if let Some(unknown) = names.iter().find(|name| VARIANTS.iter().all(|variant| variant.name != **name)) {
        return Err(format!("`INSHORE_CPU_VARIANTS` names `{unknown}`, which is no CPU variant").into());
    }
    Ok(VARIANTS.iter().filter(|variant| names.contains(&variant.name)).collect())
}

/// The sources of the ggml that llama-cpp-sys-2 was built from, which it tells by way of its CMake cache.
fn ggml_source() -> Result<PathBuf, Failure> {
    let cmake = PathBuf::from(env::var("DEP_LLAMA_GGML_CMAKE_DIR")?);
    let out = cmake.ancestors().nth(2).ok_or("llama-cpp-sys-2 names an odd folder")?;
    let cache = fs::read_to_string(out.join("build/CMakeCache.txt"))?;
    let home = cache.lines().find_map(|line| line.strip_prefix("CMAKE_HOME_DIRECTORY:INTERNAL="));
    Ok(Path::new(home.ok_or("llama-cpp-sys-2's CMake cache does not name its source")?).join("ggml/src"))
}

fn build(variant: &Variant, source: &Path, imports: &[&str], out: &Path) -> Result<PathBuf, Failure> {
    let folder = out.join(variant.name);
    fs::create_dir_all(&folder)?;
    let mut c = compiler(variant, source, &folder);
    c.std("gnu11").files(C_SOURCES.iter().map(|file| source.join(file)));
    let mut cpp = compiler(variant, source, &folder);
    cpp.cpp(true)
        .std("gnu++17")
        .cpp_link_stdlib(None)
        .files(CPP_SOURCES.iter().map(|file| source.join(file)));
    // Never built for the newer instruction sets: it runs before anything is known of the processor.
    let stubs = folder.join("stubs.S");
    fs::write(&stubs, stub_source(imports)?)?;
    let mut asm = cc::Build::new();
    asm.out_dir(&folder).pic(true).cargo_metadata(false).file(&stubs);

    let mut objects = c.try_compile_intermediates()?;
    objects.extend(cpp.try_compile_intermediates()?);
    objects.extend(asm.try_compile_intermediates()?);

    let exports = folder.join("exports.map");
    fs::write(&exports, "{ global: ggml_backend_init; inshore_ggml_table; local: *; };\n")?;
    let library = folder.join(format!("ggml-cpu-{}.so", variant.name));
    let mut link: Command = cpp.try_get_compiler()?.to_command();
    link.arg("-shared").arg("-o").arg(&library).args(&objects);
    link.arg(format!("-Wl,--version-script={}", exports.display()));
    // A name that is neither in the table nor in the system's libraries is an error here and not at start.
    link.args(["-Wl,-z,defs", "-Wl,-s", "-lm", "-lpthread"]);
    let status = link.status()?;
    if !status.success() {
        return Err(format!("linking the CPU variant `{}` failed: {status}", variant.name).into());
    }
    Ok(library)
}

fn compiler(variant: &Variant, source: &Path, folder: &Path) -> cc::Build {
    let mut build = cc::Build::new();
    // Speed is the point, whatever the profile of our own code.
    build.out_dir(folder).opt_level(3).debug(false).pic(true).warnings(false).cargo_metadata(false);
    for include in ["../include", ".", "ggml-cpu"] {
        build.include(source.join(include));
    }
    for define in ["NDEBUG", "_GNU_SOURCE", "GGML_USE_LLAMAFILE", "GGML_USE_CPU_REPACK"] {
        build.define(define, None);
    }
    for define in ["GGML_BACKEND_DL", "GGML_BACKEND_BUILD", "GGML_BACKEND_SHARED"] {
        build.define(define, None);
    }
    build.define("_XOPEN_SOURCE", "600");
    build.flag("-fvisibility=hidden").flag("-fvisibility-inlines-hidden");
    for set in HASWELL.iter().chain(variant.sets) {
        build.flag(format!("-m{set}"));
    }
    build
}

/// One jump through the table for each import.
fn stub_source(imports: &[&str]) -> Result<String, std::fmt::Error> {
    let mut source = String::from(".text\n");
    for (index, name) in imports.iter().enumerate() {
        writeln!(source, ".globl {name}\n.hidden {name}\n.type {name}, @function\n{name}:")?;
        writeln!(source, "    jmp *inshore_ggml_table_here+{}(%rip)\n.size {name}, .-{name}", index * 8)?;
    }
    writeln!(source, ".bss\n.balign 8\n.globl inshore_ggml_table\n.type inshore_ggml_table, @object")?;
    writeln!(source, "inshore_ggml_table:\ninshore_ggml_table_here:\n    .zero {}", imports.len() * 8)?;
    writeln!(source, ".size inshore_ggml_table, {}", imports.len() * 8)?;
    writeln!(source, ".section .note.GNU-stack,\"\",@progbits")?;
    Ok(source)
}

/// The Rust side: the embedded objects, and the addresses for their table.
fn table(objects: &[(&str, PathBuf)], imports: &[&str]) -> Result<String, std::fmt::Error> {
    let mut code = String::from("/// The embedded copies of the CPU code, best first.\n");
    writeln!(code, "pub(super) static IMAGES: &[(&str, &[u8])] = &[")?;
    for (name, path) in objects {
        writeln!(code, "    ({name:?}, include_bytes!({:?})),", path.display().to_string())?;
    }
    writeln!(code, "];")?;
    if objects.is_empty() {
        return Ok(code);
    }
    writeln!(code, "unsafe extern \"C\" {{")?;
    for name in imports {
        writeln!(code, "    fn {name}();")?;
    }
    writeln!(code, "}}\n/// What a copy needs of the rest of ggml, in the order of its table.")?;
    writeln!(code, "pub(super) static IMPORTS: &[unsafe extern \"C\" fn()] = &[{}];", imports.join(", "))?;
    Ok(code)
}
