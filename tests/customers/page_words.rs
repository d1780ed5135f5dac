//! The page's languages, and its script and stylesheets.

use std::fs;
use std::path::Path;

use reqwest::Method;

use crate::fixture::Fixture;
use crate::reader::{PAGE, Reader};

const ENGLISH: &str = "Your passes";
const NORWEGIAN: &str = "Kortene dine";

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_gets_the_dearest_language_that_there_is_and_one_that_is_chosen_is_kept() {
    let studio = Fixture::open_with("").await;
    let token = studio.sign_in.token("kari").await;
    let title = async |accepted: &str, path: &str| {
        let kari = Reader::with_cookie(&studio, &token).sending("Accept-Language", accepted);
        kari.get(path).await.text("h1")
    };
    for (accepted, expected) in [
        ("nb", NORWEGIAN),
        ("nb-NO,nb;q=0.9,en;q=0.8", NORWEGIAN),
        ("NN", NORWEGIAN),
        ("no", NORWEGIAN),
        ("en;q=0.8,nb;q=0.9", NORWEGIAN),
        ("de,fr;q=0.9,nb;q=0.1", NORWEGIAN),
        ("en-US,nb;q=0.9", ENGLISH),
        ("nb;q=0,en", ENGLISH),
        ("nb;q=0", ENGLISH),
        ("de", ENGLISH),
        ("*", ENGLISH),
        ("", ENGLISH),
        (";;;,,,q=,nb;q=x", ENGLISH),
    ] {
        assert_eq!(title(accepted, PAGE).await, expected, "{accepted}");
    }
    assert_eq!(title("nb", "/studio/subscriptions?lang=en").await, ENGLISH);
    assert_eq!(title("nb", "/studio/subscriptions?lang=xx").await, NORWEGIAN);

    let kari = Reader::with_cookie(&studio, &token);
    let seen = kari
        .get("/studio/subscriptions?success=true&session_id=cs_test_1")
        .await;
    let norwegian = seen.attribute("footer a[hreflang=nb]", "href").unwrap();
    assert_eq!(
        norwegian,
        "/studio/subscriptions?success=true&session_id=cs_test_1&lang=nb"
    );
    let seen = kari.get(&norwegian).await;
    assert_eq!(seen.message(), "⏳ Bekrefter kjøpet ditt … (1/15)");
    assert!(seen.refresh().unwrap().ends_with("&lang=nb"));
    let kept = Some("/studio/subscriptions?lang=nb".to_owned());
    assert_eq!(seen.attribute("form", "action"), kept);
    assert_eq!(seen.attribute("surepass-passes", "data-page"), kept);
    assert_eq!(seen.text("footer [aria-current]"), "Norsk");
}

fn folder(studio: &Fixture) -> &Path {
    Path::new(studio.shop.setting("SUREPASS_CONFIG"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_configured_folder_adds_a_language_to_page_and_script() {
    let mut studio = Fixture::prepare("").await;
    let locales = folder(&studio).join("locales");
    fs::create_dir(&locales).unwrap();
    let german = "[language]\nname = \"Deutsch\"\n[script]\nmissing_pass = \"Karte fehlt?\"\n[page]\ntitle = \"Deine Karten\"\n";
    fs::write(locales.join("de.toml"), german).unwrap();
    studio.shop.start_server().await;
    let kari = Reader::signed_in(&studio, "kari")
        .await
        .sending("Accept-Language", "de-CH");
    let seen = kari.get(PAGE).await;
    assert_eq!(
        (seen.text("h1"), seen.text("button")),
        ("Deine Karten".to_owned(), "Karte fehlt?".to_owned())
    );
    assert_eq!(
        seen.text("#passes p"),
        "You have no active passes.",
        "what it lacks is said in English"
    );
    let script = kari.get("/assets/surepass.js").await.html;
    assert!(script.contains("Karte fehlt?"), "{script}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_of_words_stops_serve_with_its_name_and_the_reason() {
    let studio = Fixture::prepare("").await;
    let locales = folder(&studio).join("locales");
    fs::create_dir(&locales).unwrap();
    fs::write(
        locales.join("nb.toml"),
        "[script]\nmising_pass = \"Mangler du et kort?\"\n",
    )
    .unwrap();
    let output = studio.shop.surepass(&["serve"]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("locales/nb.toml: `mising_pass` in [script]: there is no such text"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn script_and_styles_are_kept_for_ever_under_the_name_that_changes_with_them() {
    let studio = Fixture::open_with("").await;
    let kari = Reader::signed_in(&studio, "kari").await;
    let page = kari.get(PAGE).await;
    let script = page.attribute("script", "src").unwrap();
    let sheets = page.attributes("link[rel=stylesheet]", "href");
    let stranger = Reader::stranger(&studio);
    for (path, kind) in [
        (&script, "text/javascript; charset=utf-8"),
        (&sheets[0], "text/css; charset=utf-8"),
    ] {
        let named = stranger.get(path).await;
        assert_eq!((named.status, named.header("content-type")), (200, kind));
        assert_eq!(
            named.header("cache-control"),
            "public, max-age=31536000, immutable"
        );
        assert_eq!(named.header("x-content-type-options"), "nosniff");
        let plain = path.split('?').next().unwrap();
        for other in [plain.to_owned(), format!("{plain}?v=0")] {
            let seen = stranger.get(&other).await;
            assert_eq!(
                (seen.status, seen.header("cache-control")),
                (200, "public, max-age=300")
            );
            assert_eq!(seen.html, named.html);
        }
        let known = Reader::stranger(&studio).sending("If-None-Match", named.header("etag"));
        let seen = known.get(path).await;
        assert_eq!((seen.status, seen.html.as_str()), (304, ""));
        let head = stranger.send(Method::HEAD, path, None).await;
        assert_eq!((head.status, head.html.as_str()), (200, ""));
    }
    // Under the name that other sites embed.
    let widget = stranger.get("/widget.js").await;
    assert_eq!(widget.html, stranger.get(&script).await.html);
    assert_eq!(widget.header("cross-origin-resource-policy"), "cross-origin");
    assert!(widget.html.contains("\"✅ Success! Your pass is now active.\""));
    assert_eq!(stranger.get(&sheets[1]).await.status, 200);
    for nowhere in [
        "/assets/accent-zz0000.css",
        "/assets/..%2Fsurepass.css",
        "/assets/config.toml",
        "/assets/",
    ] {
        assert_eq!(stranger.get(nowhere).await.status, 404, "{nowhere}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slug_that_is_an_address_of_ours_is_refused_at_the_import() {
    let studio = Fixture::prepare("").await;
    for slug in [
        "api", "webhooks", "assets", "admin", "healthz", "readyz", "metrics",
    ] {
        let catalog = format!("[[tenants]]\nid = \"tenant-9\"\nslug = \"{slug}\"\nname = \"Nine\"\n");
        let file = studio.shop.file("reserved.toml", &catalog);
        let imported = studio
            .shop
            .surepass(&["catalog", "import", file.to_str().unwrap()])
            .await;
        assert_eq!(imported.status.code(), Some(1), "{slug}");
        let said = String::from_utf8_lossy(&imported.stderr);
        assert!(
            said.contains("`slug`") && said.contains("begins addresses of Surepass' own"),
            "{said}"
        );
    }
}
