//! The code in docs/checkout.md, run as it is printed against the sandbox, up to the pass that it sells. Only the address of
//! Stripe's API is another.

use std::io::Write as _;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use support::program::{self, stderr, stdout};
use support::shop::{Shop, WEBHOOK_SECRET};
use support::stripe_sandbox::{StripeSandbox, TEST_KEY};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PAGE: &str = include_str!("../../docs/checkout.md");
const STRIPE: &str = "https://api.stripe.com";

struct Language {
    /// As the block of code is marked.
    mark: &'static str,
    program: &'static str,
    file: &'static str,
}

const LANGUAGES: [Language; 5] = [
    Language {
        mark: "js",
        program: "node",
        file: "sell.mjs",
    },
    Language {
        mark: "python",
        program: "python3",
        file: "sell.py",
    },
    Language {
        mark: "ruby",
        program: "ruby",
        file: "sell.rb",
    },
    Language {
        mark: "php",
        program: "php",
        file: "sell.php",
    },
    Language {
        mark: "sh",
        program: "bash",
        file: "sell.sh",
    },
];

/// The blocks of code of the page, each with its mark.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let fenced = PAGE.split("\n```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).collect()
}

impl Language {
    /// The printed code, with what a shop has around it: a user before it, and the customer's way on after it.
    fn script(&self, code: &str, stripe: &str) -> String {
        let code = code.replace(STRIPE, stripe);
        let (id, email) = (self.user(), "ada@example.com");
        match self.mark {
            "js" => {
                format!("const user = {{id: '{id}', email: '{email}'}};\n{code}\nconsole.log(address);\n")
            }
            "python" => format!(
                "import stripe, types\n\
                 official = stripe.StripeClient\n\
                 stripe.StripeClient = lambda key: official(key, base_addresses={{'api': '{stripe}'}})\n\
                 user = types.SimpleNamespace(id='{id}', email='{email}')\n\
                 {code}\nprint(address)\n"
            ),
            "ruby" => {
                format!("user = Struct.new(:id, :email).new('{id}', '{email}')\n{code}\nputs address\n")
            }
            "php" => format!(
                "<?php\n$user = (object)['id' => '{id}', 'email' => '{email}'];\n{code}\necho $address;\n"
            ),
            _ => format!("set -e\n{}", code.replace("curl ", "curl --silent --show-error ")),
        }
    }

    fn user(&self) -> String {
        match self.mark {
            "sh" => "user_ada".to_owned(),
            mark => format!("user_{mark}"),
        }
    }

    /// The address that the code sends the customer to.
    async fn sell(&self, code: &str, stripe: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join(self.file);
        std::fs::write(&script, self.script(code, stripe)).unwrap();
        let library = folder.path().join("node_modules/stripe");
        std::fs::create_dir_all(&library).unwrap();
        std::fs::write(library.join("package.json"), r#"{"exports": "./index.mjs"}"#).unwrap();
        let url = url::Url::parse(stripe).unwrap();
        let redirected = format!(
            "import {{createRequire}} from 'node:module';\n\
             const Stripe = createRequire('{ROOT}/.tools/node/')('stripe');\n\
             export default function (key) {{\n\
               return new Stripe(key, {{host: '127.0.0.1', port: {}, protocol: 'http'}});\n\
             }}\n",
            url.port().unwrap()
        );
        std::fs::write(library.join("index.mjs"), redirected).unwrap();
        let path = format!("{ROOT}/.tools/bin:{}", std::env::var("PATH").unwrap());
        let environment = [
            ("PATH".to_owned(), path),
            ("PYTHONPATH".to_owned(), format!("{ROOT}/.tools/python")),
            ("STRIPE_SECRET_KEY".to_owned(), TEST_KEY.to_owned()),
        ];
        let arguments = [script.to_str().unwrap()];
        let output = program::run(program::command(self.program, &arguments, &environment)).await;
        assert!(
            output.status.success(),
            "{}: {}{}",
            self.mark,
            stdout(&output),
            stderr(&output)
        );
        let printed = stdout(&output);
        match self.mark {
            "sh" => serde_json::from_str::<Value>(&printed).unwrap()["url"]
                .as_str()
                .unwrap()
                .to_owned(),
            _ => printed.trim().to_owned(),
        }
    }

    /// Whether it is there. Says so where it is not; on CI's machine it must be.
    fn is_installed(&self) -> bool {
        let path = std::env::var_os("PATH").unwrap();
        let found = std::env::split_paths(&path)
            .chain([Path::new(ROOT).join(".tools/bin")])
            .any(|folder| folder.join(self.program).exists());
        if !found {
            assert!(
                std::env::var_os("CI").is_none(),
                "{} is not installed",
                self.program
            );
            // Not by `eprintln!`, which the test program keeps to itself.
            let skipped = format!(
                "\nSKIPPED: the code for {} in docs/checkout.md, because {} is not installed (`scripts/install.sh test`)\n",
                self.mark, self.program
            );
            std::io::stderr().write_all(skipped.as_bytes()).unwrap();
        }
        found
    }
}

#[tokio::test]
async fn the_code_that_the_documentation_prints_sells_a_pass_in_every_language() {
    let blocks = blocks();
    let marks: Vec<_> = blocks.iter().map(|(mark, _)| *mark).collect();
    assert_eq!(marks, LANGUAGES.map(|language| language.mark));

    let stripe = StripeSandbox::start(&[]).await;
    let mut shop = Shop::prepare("").await;
    shop.set("STRIPE_API_BASE", &stripe.url);
    shop.set("STRIPE_SECRET_KEY", TEST_KEY);
    shop.start_server().await;
    shop.start_worker().await;
    let url = format!("http://{}/webhooks/stripe", shop.servers[0].address);
    let endpoint = json!({"url": url, "secret": WEBHOOK_SECRET});
    stripe.control(Method::POST, "webhook_endpoints", endpoint).await;

    let mut sold = Vec::new();
    for (language, (_, code)) in LANGUAGES.iter().zip(blocks) {
        if !language.is_installed() {
            continue;
        }
        let address = language.sell(code, &stripe.url).await;
        let session = address
            .strip_prefix(&format!("{}/pay/", stripe.url))
            .expect(&address);
        let made = stripe.get(&format!("checkout/sessions/{session}"), &[]).await;
        assert_eq!(made["customer_email"], "ada@example.com", "{}", language.mark);
        assert_eq!(made["cancel_url"], "https://shop.example.com/passes");
        assert_eq!(
            made["success_url"],
            "https://passes.example.com/studio/subscriptions?success=true&session_id={CHECKOUT_SESSION_ID}"
        );
        stripe
            .control(Method::POST, &format!("sessions/{session}/pay"), json!({}))
            .await;
        sold.push((session.to_owned(), language.user()));
    }
    stripe.delivered().await;
    shop.settled().await;

    let mut given = Vec::new();
    for one in shop.subscriptions().await {
        assert_eq!(one["passId"], "pass-10");
        assert_eq!(one["tenant"], "tenant-1");
        assert_eq!(
            one["purchasePrice"],
            json!({"amount": 150_000, "currency": "nok"})
        );
        let text = |key: &str| one[key].as_str().unwrap().to_owned();
        given.push((text("stripeSessionId"), text("user")));
    }
    given.sort();
    sold.sort();
    assert_eq!(given, sold);
}
