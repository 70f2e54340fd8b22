//! The models folder: import, pull, remove.

use inshore_sim::hub::Hub;

use crate::home::{Home, default_model};

#[test]
fn a_file_is_used_where_it_lies_and_stays_when_forgotten() {
    let home = Home::new();
    let _daemon = home.serve();
    let file = home.path().join("Some Model.gguf");
    std::fs::copy(default_model(), &file).unwrap();
    let imported =
        home.run(["model", "import", file.to_str().unwrap(), "--alias", "letters", "--json"]).good().json();
    assert_eq!(imported["id"], "some-model");
    assert_eq!(imported["owned"], false);
    home.run(["complete", "--max-tokens", "2", "--model", "letters", "Dear"]).good();
    assert_eq!(home.last_receipt()["target"], "device/some-model");
    let shown = home.run(["model", "show", "letters", "--verify"]).good();
    for fact in ["architecture", "parameters", "quantization", "context", "memory", "licence"] {
        assert!(shown.out.contains(fact), "{fact}: {}", shown.out);
    }
    assert_eq!(home.run(["model", "import", file.to_str().unwrap()]).code, Some(1), "the name is taken");
    home.run(["model", "rm", "some-model"]).good();
    assert!(file.exists());
    assert_ne!(home.run(["complete", "--model", "letters", "Dear"]).code, Some(0));
}

#[test]
fn what_is_no_model_is_not_imported() {
    let home = Home::new();
    let file = home.path().join("broken.gguf");
    std::fs::write(&file, b"GGUF\x03\0\0\0and then nothing that makes sense").unwrap();
    let done = home.run(["model", "import", file.to_str().unwrap()]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("is not a usable model"), "{}", done.err);
    assert!(!home.run(["model", "list"]).good().out.contains("broken"));
}

#[test]
fn models_of_ollama_are_found_and_used_where_they_lie() {
    let home = Home::new();
    let bytes = std::fs::read(default_model()).unwrap();
    let hex = "ab".repeat(32);
    let models = home.path().join(".ollama/models");
    let manifest = format!(
        r#"{{"layers":[{{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:{hex}","size":{}}}]}}"#,
        bytes.len()
    );
    let tag = models.join("manifests/registry.ollama.ai/library/letters/latest");
    std::fs::create_dir_all(tag.parent().unwrap()).unwrap();
    std::fs::create_dir_all(models.join("blobs")).unwrap();
    std::fs::write(tag, manifest).unwrap();
    std::fs::write(models.join(format!("blobs/sha256-{hex}")), bytes).unwrap();
    assert!(home.run(["model", "import", "--scan", "--dry-run"]).good().out.contains("new"));
    assert!(home.run(["model", "import", "--scan"]).good().out.contains("imported as letters"));
    assert!(home.run(["model", "import", "--scan"]).good().out.contains("known"));
    home.run(["complete", "--max-tokens", "2", "--model", "letters:latest", "Dear"]).good();
    // The checksum that Ollama's name claims is not the file's.
    assert_eq!(home.run(["model", "show", "letters", "--verify"]).code, Some(1));
}

/// Runs a blocking command while the hub answers on the runtime's other threads.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_is_verified_and_used_and_a_wrong_file_is_not() {
    let hub = Hub::start().await.unwrap();
    hub.put("o/r/small.gguf", std::fs::read(default_model()).unwrap());
    hub.put_with("o/r/wrong.gguf", std::fs::read(default_model()).unwrap(), Some("00".repeat(32)));
    hub.put("o/r/page.gguf", "<html>not a model</html>");
    let url = hub.base_url();
    aside(move || {
        let home = Home::new();
        home.config(&format!("[models]\nhub = \"{url}\"\n"));
        let pulled = home.run(["model", "pull", "hf:o/r/small.gguf", "--json"]).good().json();
        assert_eq!(pulled["id"], "small");
        assert_eq!(pulled["owned"], true);
        home.run(["model", "show", "small", "--verify"]).good();
        home.run(["complete", "--max-tokens", "2", "--model", "small", "Dear"]).good();
        for (name, why) in
            [("wrong", "checksum"), ("page", "is not a usable model"), ("missing", "no such file")]
        {
            let done = home.run(["model", "pull", &format!("hf:o/r/{name}.gguf")]);
            assert_eq!(done.code, Some(1));
            assert!(done.err.contains(why), "{}", done.err);
            assert!(!home.path().join(format!("data/models/{name}.gguf")).exists());
        }
        home.run(["model", "rm", "small"]).good();
        assert!(!home.path().join("data/models/small.gguf").exists());
        assert_eq!(home.run(["model", "pull", "nonsense"]).code, Some(2));
    })
    .await;
    assert!(hub.front().stats().accepted > 0);
}
