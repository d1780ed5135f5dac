use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_730_000_000;
const BODY: &[u8] = br#"{"id":"evt_1","object":"event"}"#;

fn secret() -> SecretString {
    SecretString::from("whsec_test_secret")
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn verify(header: &str, body: &[u8]) -> Result<(), SignatureError> {
    let verifier = Verifier::new(&[secret()]).unwrap();
    verifier.verify(Some(header.as_bytes()), body, at(NOW))
}

/// The signature alone, without `t=…,v1=`.
fn hex_signature(timestamp: i64, body: &[u8]) -> String {
    sign(&secret(), timestamp, body)
        .split("v1=")
        .nth(1)
        .unwrap()
        .to_owned()
}

#[test]
fn a_header_signed_with_openssl_verifies() {
    // printf '1730000000.{"id":"evt_1","object":"event"}' | openssl dgst -sha256 -hmac whsec_test_secret
    let header = "t=1730000000,v1=fde480321bd321a37267c8491ba42836da826720778c8f5af70f40abdc7f9487";
    assert_eq!(verify(header, BODY), Ok(()));
    assert_eq!(sign(&secret(), NOW, BODY), header);
}

#[test]
fn each_way_of_being_wrong_has_its_own_code() {
    let verifier = Verifier::new(&[secret()]).unwrap();
    let code = |header: Option<&str>| {
        verifier
            .verify(header.map(str::as_bytes), BODY, at(NOW))
            .unwrap_err()
            .code()
    };
    assert_eq!(code(None), "missing_signature");
    assert_eq!(code(Some("")), "missing_signature");
    assert_eq!(code(Some("bad_header")), "malformed_signature");
    assert_eq!(code(Some("t=1730000000,v1=potato")), "invalid_signature");
    assert_eq!(code(Some(&sign(&secret(), NOW - 301, BODY))), "stale_timestamp");
}

#[test]
fn a_header_without_a_number_in_t_or_without_v1_is_malformed() {
    let signature = hex_signature(NOW, BODY);
    for header in [
        ",".to_owned(),
        "=".to_owned(),
        "t=".to_owned(),
        format!("t={NOW}"),
        format!("v1={signature}"),
        format!("t,v1={signature}"),
        format!("t=,v1={signature}"),
        format!("t=soon,v1={signature}"),
        format!("t=1.73e9,v1={signature}"),
        format!("t={NOW}0000000000,v1={signature}"),
        format!("t={NOW},v0={signature}"),
        format!("t={NOW},V1={signature}"),
        format!("t={NOW}, v1={signature}"),
        format!("t={NOW},v1"),
    ] {
        assert_eq!(verify(&header, BODY), Err(SignatureError::Malformed), "{header}");
    }
}

#[test]
fn unknown_schemes_and_trailing_commas_are_ignored() {
    let signature = hex_signature(NOW, BODY);
    for header in [
        format!("t={NOW},v0={signature},v1={signature}"),
        format!("v2=x,hello,t={NOW},v1={signature},,"),
        format!("v1={signature},t={NOW}"),
        format!("t={NOW},v1={signature}=x"),
    ] {
        assert_eq!(verify(&header, BODY), Ok(()), "{header}");
    }
}

#[test]
fn all_v1_signatures_and_all_configured_secrets_are_tried() {
    let [old, new] = ["whsec_old", "whsec_new"].map(SecretString::from);
    let rolling = Verifier::new(&[old.clone(), new.clone()]).unwrap();
    let signature = |secret| sign(secret, NOW, BODY).split("v1=").nth(1).unwrap().to_owned();
    let both = format!("t={NOW},v1={},v1={}", signature(&old), signature(&new));
    let only_new = format!("t={NOW},v1=potato,v1=,v1={}", signature(&new));
    for header in [&both, &only_new] {
        assert_eq!(rolling.verify(Some(header.as_bytes()), BODY, at(NOW)), Ok(()));
    }
    let after = Verifier::new(&[new]).unwrap();
    assert_eq!(after.verify(Some(both.as_bytes()), BODY, at(NOW)), Ok(()));
    assert_eq!(verify(&both, BODY), Err(SignatureError::Invalid));
}

#[test]
fn at_most_32_v1_signatures_are_tried() {
    let signature = hex_signature(NOW, BODY);
    let after = |junk: usize| format!("t={NOW}{},v1={signature}", ",v1=potato".repeat(junk));
    assert_eq!(verify(&after(31), BODY), Ok(()));
    assert_eq!(verify(&after(32), BODY), Err(SignatureError::Invalid));
}

#[test]
fn a_header_of_100_kb_is_answered() {
    let junk = "v1=".to_owned() + &"0".repeat(64) + ",";
    let header = junk.repeat(1_500) + &sign(&secret(), NOW, BODY);
    assert_eq!(verify(&header, BODY), Err(SignatureError::Invalid));
    assert_eq!(verify(&"t".repeat(100_000), BODY), Err(SignatureError::Malformed));
}

#[test]
fn a_signature_in_upper_case_hex_is_refused_as_in_stripes_libraries() {
    let header = format!("t={NOW},v1={}", hex_signature(NOW, BODY).to_uppercase());
    assert_eq!(verify(&header, BODY), Err(SignatureError::Invalid));
}

#[test]
fn a_signature_passes_up_to_300_s_and_from_the_future() {
    for timestamp in [NOW, NOW - 300, NOW + 1, NOW + 86_400, i64::MAX] {
        assert_eq!(
            verify(&sign(&secret(), timestamp, BODY), BODY),
            Ok(()),
            "{timestamp}"
        );
    }
    for (timestamp, age_seconds) in [(NOW - 301, 301), (0, NOW), (-1, NOW + 1), (i64::MIN, i64::MAX)] {
        assert_eq!(
            verify(&sign(&secret(), timestamp, BODY), BODY),
            Err(SignatureError::Stale {
                age_seconds,
                tolerance_seconds: 300
            }),
        );
    }
}

#[test]
fn the_tolerance_can_be_set() {
    let verifier = Verifier::new(&[secret()])
        .unwrap()
        .with_tolerance(Duration::from_secs(10));
    let check = |age| verifier.verify(Some(sign(&secret(), NOW - age, BODY).as_bytes()), BODY, at(NOW));
    assert_eq!(check(10), Ok(()));
    assert_eq!(
        check(11),
        Err(SignatureError::Stale {
            age_seconds: 11,
            tolerance_seconds: 10
        })
    );
}

#[test]
fn a_forged_signature_is_called_invalid_even_when_it_is_old() {
    assert_eq!(verify("t=1,v1=potato", BODY), Err(SignatureError::Invalid));
}

#[test]
fn of_two_timestamps_the_first_counts() {
    let signature = hex_signature(NOW, BODY);
    assert_eq!(verify(&format!("t={NOW},t=1,v1={signature}"), BODY), Ok(()));
    assert_eq!(
        verify(&format!("t=1,t={NOW},v1={signature}"), BODY),
        Err(SignatureError::Invalid)
    );
}

#[test]
fn an_empty_body_and_one_of_a_mebibyte_verify() {
    for body in [Vec::new(), vec![b'x'; 1 << 20]] {
        assert_eq!(verify(&sign(&secret(), NOW, &body), &body), Ok(()));
    }
}

#[test]
fn a_body_that_was_parsed_and_written_again_is_refused() {
    let sent = b"{\"id\": \"evt_1\"}\n";
    let header = sign(&secret(), NOW, sent);
    let rewritten = serde_json::from_slice::<serde_json::Value>(sent)
        .unwrap()
        .to_string();
    assert_eq!(
        verify(&header, rewritten.as_bytes()),
        Err(SignatureError::Invalid)
    );
}

#[test]
fn an_empty_secret_is_an_error() {
    let refused = |secrets: &[&str]| {
        let secrets: Vec<_> = secrets.iter().map(|&text| SecretString::from(text)).collect();
        Verifier::new(&secrets).err()
    };
    assert_eq!(refused(&[]), Some(EmptySecret));
    assert_eq!(refused(&[""]), Some(EmptySecret));
    assert_eq!(refused(&["whsec_test_secret", " \t\n"]), Some(EmptySecret));
}

#[test]
fn white_space_around_a_secret_is_not_part_of_it() {
    let verifier = Verifier::new(&[SecretString::from(" whsec_test_secret\r\n")]).unwrap();
    assert_eq!(
        verifier.verify(Some(sign(&secret(), NOW, BODY).as_bytes()), BODY, at(NOW)),
        Ok(())
    );
}

#[test]
fn secrets_never_reach_debug_or_errors() {
    let verifier = Verifier::new(&[secret()]).unwrap();
    assert_eq!(
        format!("{verifier:?}"),
        "Verifier { secrets: 1, tolerance_seconds: 300 }"
    );
    let error = verify(&format!("t={NOW},v1=potato"), BODY).unwrap_err();
    for leak in ["whsec_test_secret", "potato", "evt_1"] {
        assert!(!format!("{error} {error:?}").contains(leak));
    }
}

/// Headers that look nearly right, to reach deeper than random bytes do.
fn header_like() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("t".to_owned()),
        Just("v1".to_owned()),
        Just("v0".to_owned()),
        Just("=".to_owned()),
        Just(",".to_owned()),
        Just(" ".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "[0-9a-fA-F]{0,64}",
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn signature_parsing_never_panics(
        header in prop_oneof![header_like(), proptest::collection::vec(any::<u8>(), 0..512)],
        body in proptest::collection::vec(any::<u8>(), 0..64),
        now in 0_i64..4_000_000_000,
    ) {
        let verifier = Verifier::new(&[secret()]).unwrap();
        prop_assert!(verifier.verify(Some(&header), &body, at(now)).is_err());
    }

    #[test]
    fn what_sign_makes_always_verifies(
        key in "[!-~]{1,100}",
        timestamp in any::<i64>(),
        body in proptest::collection::vec(any::<u8>(), 0..2_000),
    ) {
        let secret = SecretString::from(key);
        let verifier = Verifier::new(std::slice::from_ref(&secret)).unwrap().with_tolerance(Duration::MAX);
        let header = sign(&secret, timestamp, &body);
        prop_assert_eq!(verifier.verify(Some(header.as_bytes()), &body, at(NOW)), Ok(()));
    }

    #[test]
    fn any_changed_byte_of_the_body_is_refused(
        body in proptest::collection::vec(any::<u8>(), 1..2_000),
        position in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let header = sign(&secret(), NOW, &body);
        let mut changed = body;
        let position = position.index(changed.len());
        changed[position] ^= change;
        prop_assert_eq!(verify(&header, &changed), Err(SignatureError::Invalid));
    }
}
