use super::*;

fn ordered(json: &str) -> Faults {
    let mut faults = Faults::none(1);
    faults.replace(serde_json::from_str(json).unwrap()).unwrap();
    faults
}

#[test]
fn the_same_seed_gives_the_same_faults_and_another_gives_others() {
    let dispatches = |seed: u64| {
        let mut faults = ordered(&format!(
            r#"{{"seed":{seed},"deliveries":{{"drop":15,"double":10,"reorder":75}}}}"#
        ));
        (0..2_000).map(|_| faults.of_delivery()).collect::<Vec<_>>()
    };
    assert_eq!(dispatches(7), dispatches(7));
    assert_ne!(dispatches(7), dispatches(8));
}

#[test]
fn a_percentage_is_about_what_strikes() {
    let mut faults = ordered(r#"{"deliveries":{"drop":15,"lose":5,"double":10}}"#);
    let dispatches: Vec<_> = (0..10_000).map(|_| faults.of_delivery()).collect();
    let share = |is: fn(&Dispatch) -> bool| dispatches.iter().filter(|dispatch| is(dispatch)).count();
    assert!((1_300..1_700).contains(&share(|dispatch| *dispatch == Dispatch::Dropped)));
    assert!((400..600).contains(&share(|dispatch| *dispatch == Dispatch::Lost)));
    assert!((650..950).contains(&share(|dispatch| matches!(
        dispatch,
        Dispatch::Sent { double: true, .. }
    ))));
}

#[test]
fn the_nth_call_to_a_path_fails_once() {
    let mut faults = ordered(r#"{"api":{"once":[{"path":"/v1/events","nth":2,"fault":"error"}]}}"#);
    let now = Instant::now();
    let struck: Vec<_> = ["/v1/events", "/v1/customers", "/v1/events", "/v1/events"]
        .map(|path| faults.of_call(path, now).map(|call| call.fault))
        .into();
    assert_eq!(struck, [None, None, Some(ApiFault::Error), None]);
}

#[test]
fn only_the_paths_that_are_named_suffer() {
    let mut faults = ordered(r#"{"api":{"paths":["/v1/checkout"],"error":60,"hang":40}}"#);
    let now = Instant::now();
    assert!((0..50).all(|_| faults.of_call("/v1/checkout/sessions", now).is_some()));
    assert!((0..50).all(|_| faults.of_call("/v1/events", now).is_none()));
}

#[test]
fn calls_beyond_the_rate_are_refused() {
    let mut faults = ordered(r#"{"api":{"requests_per_second":25}}"#);
    let now = Instant::now();
    let passed = |faults: &mut Faults, now| {
        (0..100)
            .filter(|_| faults.of_call("/v1/x", now).is_none())
            .count()
    };
    assert_eq!(passed(&mut faults, now), 25);
    assert_eq!(passed(&mut faults, now + Duration::from_millis(400)), 10);
}

#[test]
fn an_order_that_makes_no_sense_is_refused_and_the_one_before_stays() {
    let mut faults = ordered(r#"{"deliveries":{"drop":100}}"#);
    for json in [
        r#"{"deliveries":{"drop":101}}"#,
        r#"{"deliveries":{"drop":60,"lose":60}}"#,
        r#"{"api":{"error":-1}}"#,
        r#"{"api":{"once":[{"path":"/v1","nth":0,"fault":"hang"}]}}"#,
    ] {
        assert!(
            faults.replace(serde_json::from_str(json).unwrap()).is_err(),
            "{json}"
        );
    }
    assert_eq!(faults.of_delivery(), Dispatch::Dropped);
}
