//! Everything that an object has been, as the API server tells it to whoever watches.

use std::{
    fs::File,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::Scene;

/// A watch of one object.
#[derive(Debug)]
pub struct ObjectWatch {
    kubectl: Child,
    file: std::path::PathBuf,
}

impl Scene {
    /// Follows an object of this namespace, as `kind/name`, from what it is now.
    ///
    /// # Panics
    /// When kubectl cannot be run.
    #[must_use]
    pub fn watch(&self, object: &str) -> ObjectWatch {
        let file = std::env::temp_dir().join(format!(
            "{}-{}.json",
            self.namespace,
            object.replace('/', "-")
        ));
        let kubectl = Command::new("kubectl")
            .args([
                "get",
                object,
                "--watch",
                "-o",
                "json",
                "-n",
                &self.namespace,
            ])
            .stdin(Stdio::null())
            .stdout(File::create(&file).expect("the temporary directory can be written to"))
            .spawn()
            .expect("kubectl can be run; `make e2e` brings one");
        ObjectWatch { kubectl, file }
    }
}

impl ObjectWatch {
    /// What the object has been so far, the oldest first.
    ///
    /// # Panics
    /// When what kubectl wrote cannot be read.
    #[must_use]
    pub fn seen(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.file).expect("kubectl writes there");
        // The last one may be half written.
        serde_json::Deserializer::from_str(&text)
            .into_iter()
            .map_while(Result::ok)
            .collect()
    }
}

impl Drop for ObjectWatch {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
        let _ = std::fs::remove_file(&self.file);
    }
}
