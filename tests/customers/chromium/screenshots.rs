//! Pictures of a state for people to look at, and what can be checked of each without looking.

use std::path::Path;

use serde_json::{Value, json};

use crate::chromium::tab::Tab;

/// Width and height, and the colour scheme.
const LOOKS: [(u32, u32, &str); 4] = [
    (1280, 900, "light"),
    (320, 640, "light"),
    (390, 844, "dark"),
    (390, 844, "light"),
];

impl Tab {
    /// Puts pictures of what is shown into `target/screenshots`, one of each look. In each, axe-core must find nothing
    /// wrong, and nothing may be wider than the screen.
    pub(crate) async fn screenshots(&self, state: &str) {
        for (width, height, scheme) in LOOKS {
            self.does("setViewportSize", json!([{"width": width, "height": height}]))
                .await;
            self.does(
                "emulateMedia",
                json!([{"colorScheme": scheme, "reducedMotion": "reduce"}]),
            )
            .await;
            let name = format!("{state}-{width}-{scheme}");
            self.picture(&name).await;
            assert_eq!(self.axe().await, json!([]), "{name}");
            assert_eq!(self.overflow().await, json!(0), "{name} scrolls sideways");
        }
    }

    /// One picture, of the whole page as it is.
    pub(crate) async fn picture(&self, name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        let path = folder.join(format!("{name}.png"));
        self.does("screenshot", json!([{"path": path, "fullPage": true}]))
            .await;
    }

    /// By how many pixels the page is wider than the screen.
    pub(crate) async fn overflow(&self) -> Value {
        self.evaluate("document.scrollingElement.scrollWidth - document.documentElement.clientWidth")
            .await
    }
}
