//! What Redis answers, in the model's words.

use std::collections::BTreeMap;

use redis::{Commands, Connection, Value};

use super::ops::Answer;
use crate::scripts;

/// Times below it were set by hand: long ago.
const LONG_AGO: f64 = 1e9;

pub(super) fn times(connection: &mut Connection, key: &str) -> BTreeMap<String, Option<u32>> {
    let times: Vec<(String, f64)> = connection.zrange_withscores(key, 0, -1).unwrap();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of steps"
    )]
    times
        .into_iter()
        .map(|(member, score)| (member, (score < LONG_AGO).then_some(score as u32)))
        .collect()
}

pub(super) fn words(answer: &Value) -> Answer {
    const WORDS: [&str; 5] = ["new", "seen", "live", "dead", "logged"];
    let Value::BulkString(answers) = answer else {
        panic!("{answer:?}")
    };
    Answer::Words(
        answers
            .split(|byte| *byte == b' ')
            .map(|word| *WORDS.iter().find(|known| known.as_bytes() == word).unwrap())
            .collect(),
    )
}

pub(super) fn claimed(answer: &Value) -> Answer {
    let Value::Array(answer) = answer else {
        panic!("{answer:?}")
    };
    if answer.first() == Some(&Value::Int(-2)) {
        assert_eq!(answer.len(), 2, "and no job");
        return Answer::Suspects;
    }
    let jobs = scripts::read_claim(answer);
    Answer::Claimed(jobs.map(|jobs| {
        jobs.into_iter()
            .map(|(id, data)| {
                let header = String::from_utf8(data).unwrap();
                (
                    String::from_utf8(id).unwrap(),
                    header.split(' ').nth(4).unwrap().parse().unwrap(),
                )
            })
            .collect()
    }))
}

pub(super) fn numbers(answer: &Value) -> Answer {
    match answer {
        Value::Int(number) => Answer::Numbers(vec![*number]),
        Value::Array(answers) => Answer::Numbers(
            answers
                .iter()
                .map(|answer| match answer {
                    Value::Int(number) => *number,
                    other => panic!("{other:?}"),
                })
                .collect(),
        ),
        other => panic!("{other:?}"),
    }
}

/// 1 for each job to which `word` was done, 0 for any other.
pub(super) fn done(answer: &Value, word: &str) -> Answer {
    let Value::Array(answers) = answer else {
        panic!("{answer:?}")
    };
    let word = Value::BulkString(word.as_bytes().to_vec());
    Answer::Numbers(answers.iter().map(|answer| i64::from(*answer == word)).collect())
}
