use super::*;

fn catalogue() -> (tempfile::TempDir, Catalogue) {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::new(dir.path().join("models"), false);
    (dir, catalogue)
}

fn reference(id: &str, path: &Path) -> Manifest {
    Manifest { id: id.into(), file: path.to_owned(), size: 4, source: "here".into(), ..Manifest::default() }
}

#[test]
fn models_are_registered_found_and_forgotten() {
    let (dir, catalogue) = catalogue();
    assert!(catalogue.list().unwrap().entries.is_empty());
    let elsewhere = dir.path().join("elsewhere.gguf");
    std::fs::write(&elsewhere, "GGUF").unwrap();
    catalogue
        .register(&Manifest { aliases: vec!["other:name".into()], ..reference("mine", &elsewhere) })
        .unwrap();
    assert_eq!(catalogue.find("mine").unwrap().path, elsewhere);
    let entry = catalogue.find("other:name").unwrap();
    assert_eq!(catalogue.remove(&entry).unwrap(), Some(elsewhere.clone()));
    assert!(elsewhere.exists(), "a file that is not ours was deleted");
    assert!(catalogue.find("mine").is_err());
}

#[test]
fn own_files_go_with_their_model() {
    let (_dir, catalogue) = catalogue();
    std::fs::create_dir_all(catalogue.dir()).unwrap();
    std::fs::write(catalogue.file_of("mine"), "GGUF").unwrap();
    let manifest = Manifest { owned: true, ..reference("mine", Path::new("mine.gguf")) };
    let entry = catalogue.register(&manifest).unwrap();
    assert_eq!(catalogue.remove(&entry).unwrap(), None);
    assert_eq!(std::fs::read_dir(catalogue.dir()).unwrap().count(), 0);
}

#[test]
fn one_broken_manifest_does_not_hide_the_others() {
    let (dir, catalogue) = catalogue();
    let file = dir.path().join("a.gguf");
    std::fs::write(&file, "GGUF").unwrap();
    catalogue.register(&reference("good", &file)).unwrap();
    catalogue.register(&reference("gone", Path::new("/nonexistent/model.gguf"))).unwrap();
    std::fs::write(catalogue.dir().join("broken.json"), "{").unwrap();
    std::fs::copy(catalogue.dir().join("good.json"), catalogue.dir().join("renamed.json")).unwrap();
    let listing = catalogue.list().unwrap();
    let ids: Vec<_> = listing.entries.iter().map(|entry| entry.manifest.id.as_str()).collect();
    assert_eq!(ids, ["good"]);
    assert_eq!(listing.broken.len(), 3, "{:?}", listing.broken);
}

#[test]
fn a_near_name_is_suggested() {
    let (dir, catalogue) = catalogue();
    let file = dir.path().join("a.gguf");
    std::fs::write(&file, "GGUF").unwrap();
    catalogue.register(&reference("qwen3-4b", &file)).unwrap();
    assert_eq!(
        catalogue.find("qwen3-4").unwrap_err().to_string(),
        "there is no model `qwen3-4`; did you mean `qwen3-4b`?"
    );
}

#[test]
fn the_builtin_model_is_listed_first_and_cannot_be_removed() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::new(dir.path().to_owned(), true);
    let entry = catalogue.find(builtin::ID).unwrap();
    assert!(catalogue.remove(&entry).unwrap_err().to_string().contains("models.builtin"));
    assert!(catalogue.has(builtin::ID));
}

#[test]
fn ids_are_safe_file_names() {
    for good in ["qwen3-4b", "Llama-3.2_1B", "7b"] {
        check_id(good).unwrap();
    }
    for bad in ["", ".hidden", "../up", "a/b", "auto", "device", "a b", &"x".repeat(101)] {
        assert!(check_id(bad).is_err(), "{bad}");
    }
    assert_eq!(id_from("dir/Qwen3-4B Q4.GGUF.gguf").unwrap(), "qwen3-4b-q4.gguf");
    assert!(id_from("....gguf").is_err());
}

proptest::proptest! {
    #[test]
    fn any_name_becomes_a_good_id_or_none(name in ".{0,120}") {
        if let Ok(id) = id_from(&name) {
            check_id(&id).unwrap();
        }
    }
}
