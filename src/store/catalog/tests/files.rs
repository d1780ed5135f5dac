//! Whole files: malformed ones, too large ones, and the project's own example.

use super::*;

#[test]
fn a_malformed_file_is_refused_by_place_without_quoting_it() {
    let json = Catalog::parse("{\"tenants\":\n [{\"webhookSecrets\": [whsec_secret]}]}")
        .unwrap_err()
        .to_string();
    assert_eq!(json, "not JSON: line 2, column 23");
    let toml = Catalog::parse("[[tenants]]\nwebhookSecrets = [whsec_secret]")
        .unwrap_err()
        .to_string();
    assert_eq!(
        toml,
        "not TOML (nor JSON, which begins with `{`): line 2, column 19"
    );
    assert_eq!(
        Catalog::parse("").unwrap_err().to_string(),
        "the catalog: `tenants`: it is missing"
    );
}

#[test]
fn a_file_over_256_mib_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalog.json");
    std::fs::write(&file, "{\"tenants\":[]}").unwrap();
    assert!(Catalog::read(&file).unwrap().tenants.is_empty());
    // Without a block on the disk.
    let large = std::fs::File::create(&file).unwrap();
    large.set_len(MAX_BYTES + 1).unwrap();
    assert!(matches!(Catalog::read(&file), Err(CatalogError::TooLarge(_))));
    assert!(matches!(
        Catalog::read(&folder.path().join("none.json")),
        Err(CatalogError::Unreadable { .. })
    ));
}

#[test]
fn the_example_catalog_of_the_project_is_read_without_a_warning() {
    let catalog = Catalog::parse(include_str!("../../../../config/catalog.example.toml")).unwrap();
    assert_eq!(catalog.warnings, Vec::<String>::new());
    assert_eq!(catalog.tenants.len(), 1);
    assert_eq!(catalog.tenants[0].passes.len(), 4);
}

#[test]
fn all_errors_are_told_at_once_each_with_its_place() {
    let mut document = example();
    let mut second = document["tenants"][0].clone();
    second["id"] = Value::Null;
    second["slug"] = json!("No Slug");
    second["stripeAccount"] = Value::Null;
    second["passes"][0]["price"] = json!(-1);
    second["passes"][0]["currency"] = json!("kr");
    document["tenants"][0]["passes"][0]["classesLimit"] = Value::Null;
    document["tenants"].as_array_mut().unwrap().push(second);
    let refused = Catalog::parse(&document.to_string()).unwrap_err().to_string();
    let lines: Vec<_> = refused.lines().collect();
    assert_eq!(
        lines,
        [
            "tenant `tenant-1`, pass `pass-10`: `classesLimit`: it is missing: a pass of type `multi` has a number of classes",
            "tenant 2: `id`: it is missing",
            "tenant 2: `slug`: expected at most 63 of a-z, 0-9 and -",
            "tenant 2, pass `pass-10`: `price`: -1 is too little: at least 0",
            "tenant 2, pass `pass-10`: `currency`: `kr` is not in ISO 4217",
        ]
    );
}
