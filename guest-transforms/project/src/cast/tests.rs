//! Single values, through the column code.

use super::*;

use proptest::prelude::*;

use DataType::{Binary, Boolean, Decimal, Float64, Int64, Timestamp as Time, Utf8};

const TYPES: [DataType; 10] = [
    Boolean,
    Int64,
    Float64,
    Decimal(0),
    Decimal(2),
    Decimal(18),
    Utf8,
    Binary,
    Time,
    DataType::Date,
];

fn one(value: Values, from: DataType, to: DataType, round: bool) -> Result<Values, String> {
    let cast = Cast::between(from, to, round).unwrap();
    let mut failure = None;
    let column = cast.apply(Column::new(value), |row, reason| {
        assert_eq!(row, 0);
        failure = Some(reason);
    });
    failure.map_or_else(|| Ok(column.unwrap().values), Err)
}

fn text(text: &str) -> Values {
    Values::Bytes([text].into_iter().collect())
}

fn integer(value: i64) -> Values {
    Values::I64s(vec![value])
}

fn double(value: f64) -> Values {
    Values::F64s(vec![value])
}

#[test]
fn text_is_read_exactly() {
    let read = |from: &str, to| one(text(from), Utf8, to, false);
    assert_eq!(read("-42", Int64), Ok(integer(-42)));
    assert_eq!(read("12.5", Decimal(2)), Ok(integer(1_250)));
    assert_eq!(read("1.25e1", Decimal(2)), Ok(integer(1_250)));
    assert_eq!(read("0.1", Float64), Ok(double(0.1)));
    assert_eq!(read("true", Boolean), Ok(Values::Bools(vec![1])));
    assert_eq!(
        read("1970-01-02", DataType::Date),
        Ok(Values::I32s(vec![1]))
    );
    assert_eq!(
        read("1970-01-01T01:00:01+01:00", Time),
        Ok(integer(1_000_000))
    );
    assert_eq!(read("é", Binary), Ok(text("é")));
    for (from, to, expected) in [
        ("4.5", Int64, "`4.5` is no int64"),
        (
            "99999999999999999999",
            Int64,
            "`99999999999999999999` is no int64",
        ),
        (
            "12.345",
            Decimal(2),
            "12.345 would have to be rounded to be of type decimal(2)",
        ),
        ("yes", Boolean, "`yes` is neither true nor false"),
        ("NaN", Float64, "`NaN` is no float64"),
        ("1e999", Float64, "`1e999` is no float64"),
        ("2025-02-29", DataType::Date, "`2025-02-29` is no date"),
        ("noon", Time, "`noon` is no timestamp"),
    ] {
        assert_eq!(read(from, to).unwrap_err(), expected);
    }
    assert!(read("abc", Decimal(2)).unwrap_err().contains("abc"));
}

#[test]
fn a_number_keeps_its_value_or_has_none() {
    assert_eq!(
        one(integer(1_250), Decimal(2), Decimal(1), false),
        Ok(integer(125))
    );
    assert_eq!(
        one(integer(1_200), Decimal(2), Int64, false),
        Ok(integer(12))
    );
    assert_eq!(
        one(integer(12), Int64, Decimal(3), false),
        Ok(integer(12_000))
    );
    assert_eq!(
        one(integer(i64::MAX), Int64, Decimal(0), false).unwrap_err(),
        "9223372036854775807 has more than 18 digits"
    );
    assert_eq!(
        one(integer(10_i64.pow(17)), Decimal(0), Decimal(2), false).unwrap_err(),
        "100000000000000000 has more digits than a decimal(2) can have"
    );
    assert_eq!(
        one(integer(1_255), Decimal(2), Decimal(1), false).unwrap_err(),
        "12.55 would have to be rounded to be of type decimal(1)"
    );
    assert_eq!(one(double(3.0), Float64, Int64, false), Ok(integer(3)));
    assert_eq!(one(double(-0.0), Float64, Int64, false), Ok(integer(0)));
    assert_eq!(
        one(double(0.1), Float64, Decimal(2), false),
        Ok(integer(10))
    );
    for value in [
        f64::NAN,
        f64::INFINITY,
        1e19,
        -1e19,
        9_223_372_036_854_775_808.0,
    ] {
        assert!(one(double(value), Float64, Int64, true).is_err(), "{value}");
    }
    assert_eq!(
        one(double(2.5), Float64, Int64, false).unwrap_err(),
        "2.5 would have to be rounded to be of type int64"
    );
    assert_eq!(
        one(double(f64::NAN), Float64, Decimal(2), true).unwrap_err(),
        "NaN is no decimal(2)"
    );
    let odd = (1 << 53) + 1;
    assert_eq!(
        one(integer(odd), Int64, Float64, false).unwrap_err(),
        "9007199254740993 would have to be rounded to be of type float64"
    );
    assert_eq!(
        one(integer(odd - 1), Int64, Float64, false),
        Ok(double(9_007_199_254_740_992.0))
    );
}

/// It is a double, but the digits by which a double becomes a decimal are those of 400710125460863700.
#[test]
fn a_decimal_that_a_double_would_not_give_back_does_not_become_one() {
    let value = integer(400_710_125_460_863_680);
    assert_eq!(
        one(value.clone(), Decimal(0), Float64, false),
        Err("400710125460863680 would have to be rounded to be of type float64".into())
    );
    assert!(one(value.clone(), Decimal(0), Float64, true).is_ok());
    assert!(one(value, Int64, Float64, false).is_ok());
}

#[test]
fn where_it_may_it_rounds_half_to_even() {
    for (cents, tenths) in [(1_245, 124), (1_255, 126), (-1_245, -124), (1_246, 125)] {
        assert_eq!(
            one(integer(cents), Decimal(2), Decimal(1), true),
            Ok(integer(tenths))
        );
    }
    assert_eq!(one(text("0.125"), Utf8, Decimal(2), true), Ok(integer(12)));
    assert_eq!(one(double(2.5), Float64, Int64, true), Ok(integer(2)));
    let odd = (1 << 53) + 1;
    assert_eq!(
        one(integer(odd), Int64, Float64, true),
        Ok(double(9_007_199_254_740_992.0))
    );
}

#[test]
fn flags_are_0_and_1() {
    assert_eq!(
        one(Values::Bools(vec![1]), Boolean, Int64, false),
        Ok(integer(1))
    );
    assert_eq!(
        one(integer(0), Int64, Boolean, false),
        Ok(Values::Bools(vec![0]))
    );
    assert_eq!(
        one(integer(2), Int64, Boolean, false).unwrap_err(),
        "2 is neither 0 nor 1"
    );
}

#[test]
fn a_time_becomes_its_day_in_utc_and_a_day_its_midnight() {
    assert_eq!(
        one(integer(-1), Time, DataType::Date, false),
        Ok(Values::I32s(vec![-1]))
    );
    assert_eq!(
        one(Values::I32s(vec![2]), DataType::Date, Time, false),
        Ok(integer(2 * DAY_MICROS))
    );
    assert!(one(Values::I32s(vec![i32::MAX]), DataType::Date, Time, false).is_err());
}

#[test]
fn every_value_has_a_text() {
    for (value, ty, expected) in [
        (Values::Bools(vec![0]), Boolean, "false"),
        (integer(-7), Int64, "-7"),
        (integer(-5), Decimal(2), "-0.05"),
        (double(0.1), Float64, "0.1"),
        (integer(0), Time, "1970-01-01T00:00:00Z"),
        (Values::I32s(vec![0]), DataType::Date, "1970-01-01"),
    ] {
        assert_eq!(one(value, ty, Utf8, false), Ok(text(expected)));
    }
    let bytes = Values::Bytes([[0xFF_u8]].into_iter().collect());
    assert_eq!(
        one(bytes, Binary, Utf8, false).unwrap_err(),
        "the bytes are no text in UTF-8"
    );
}

#[test]
fn between_times_and_numbers_there_is_no_cast() {
    for (from, to) in [
        (Time, Int64),
        (Int64, Time),
        (Boolean, Float64),
        (Binary, Int64),
    ] {
        assert_eq!(Cast::between(from, to, false), None);
    }
}

#[test]
fn a_missing_value_stays_missing_and_is_not_looked_at() {
    let cast = Cast::between(Utf8, Int64, false).unwrap();
    let column = Column {
        values: Values::Bytes(["", "5"].into_iter().collect()),
        validity: Some(vec![0, 1]),
    };
    let cast = cast
        .apply(column, |row, reason| panic!("{row}: {reason}"))
        .unwrap();
    assert_eq!(cast.values, Values::I64s(vec![0, 5]));
    assert_eq!(cast.validity, Some(vec![0, 1]));
}

fn value(ty: DataType) -> BoxedStrategy<Values> {
    let most = 10_i64.pow(18) - 1;
    match ty {
        Boolean => (0_u8..2).prop_map(|flag| Values::Bools(vec![flag])).boxed(),
        Int64 => prop_oneof![-5_i64..5, any::<i64>()]
            .prop_map(integer)
            .boxed(),
        Time => (-62_135_596_800_000_000_i64..253_402_300_800_000_000)
            .prop_map(integer)
            .boxed(),
        Decimal(_) => prop_oneof![-500_i64..500, -most..=most]
            .prop_map(integer)
            .boxed(),
        Float64 => prop_oneof![
            (-500_i32..500).prop_map(|it| f64::from(it) / 100.0),
            any::<f64>()
        ]
        .prop_map(double)
        .boxed(),
        DataType::Date => (-719_162_i32..2_932_896)
            .prop_map(|day| Values::I32s(vec![day]))
            .boxed(),
        Utf8 => ".{0,20}".prop_map(|it| text(&it)).boxed(),
        Binary => prop::collection::vec(any::<u8>(), 0..9)
            .prop_map(|bytes| Values::Bytes([bytes].into_iter().collect()))
            .boxed(),
    }
}

fn typed() -> impl Strategy<Value = (DataType, DataType, Values)> {
    let types = (
        prop::sample::select(&TYPES[..]),
        prop::sample::select(&TYPES[..]),
    );
    types.prop_flat_map(|(from, to)| (Just(from), Just(to), value(from)))
}

proptest! {
    #[test]
    fn what_was_cast_casts_back((from, to, values) in typed()) {
        prop_assume!(Cast::between(from, to, false).is_some());
        prop_assume!((from, to) != (Time, DataType::Date));
        // A text has many forms for one value.
        prop_assume!(from != Utf8 || to == Binary);
        if let Ok(cast) = one(values.clone(), from, to, false) {
            let fits = cast.fit(to);
            prop_assert!(fits);
            if let Values::F64s(doubles) = &values && (doubles[0] == 0.0 || !doubles[0].is_finite()) {
                return Ok(());
            }
            prop_assert_eq!(one(cast, to, from, false), Ok(values));
        }
    }

    #[test]
    fn rounding_changes_nothing_that_fits((from, to, values) in typed()) {
        prop_assume!(Cast::between(from, to, false).is_some());
        if let Ok(cast) = one(values.clone(), from, to, false) {
            if let Values::F64s(doubles) = &values && doubles[0].is_nan() {
                return Ok(());
            }
            prop_assert_eq!(one(values, from, to, true), Ok(cast));
        }
    }
}
