//! Sketches of hashes, as bytes.

use super::*;

use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

fn precision(p: u8) -> Precision {
    Precision::new(p).unwrap()
}

fn sketch(p: u8, hashes: &[u64]) -> Vec<u8> {
    let mut builder = Builder::new(precision(p));
    for &hash in hashes {
        builder.add(hash);
    }
    let mut out = Vec::new();
    builder.finish(&mut out);
    out
}

fn merged(p: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut builder = Builder::new(precision(p));
    for part in parts {
        builder.add_sketch(Sketch::read(part, precision(p)).unwrap());
    }
    let mut out = Vec::new();
    builder.finish(&mut out);
    out
}

fn count(p: u8, bytes: &[u8]) -> f64 {
    Sketch::read(bytes, precision(p))
        .unwrap()
        .count(precision(p))
}

/// `n` different hashes, as of different values; others for another `salt`.
fn hashes(salt: u64, n: u64) -> Vec<u64> {
    (0..n)
        .map(|i| xxh3_64(&[salt, i].map(u64::to_le_bytes).concat()))
        .collect()
}

#[test]
fn a_small_set_is_its_hashes_in_order() {
    assert_eq!(sketch(12, &[]), [1, 12, 0]);
    let bytes = sketch(12, &[9, 3, 9]);
    assert_eq!(
        bytes,
        [1, 12, 0, 3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]
    );
    assert!((count(12, &bytes) - 2.0).abs() < f64::EPSILON);
}

#[test]
fn a_large_set_is_its_registers() {
    // Precision 4: 16 registers in 12 bytes, and one hash that is kept as it is.
    assert_eq!(sketch(4, &[u64::MAX]).len(), 3 + 8);
    let first = 0x0800_0000_0000_0000; // register 0, rank 1
    let last = 0xF000_0000_0000_0000; // register 15, nothing but zeros: rank 61
    let mut expected = vec![1, 4, 1, 1];
    expected.extend([0; 10]);
    expected.push(61 << 2);
    assert_eq!(sketch(4, &[first, last]), expected);
}

#[test]
fn the_state_does_not_grow_beyond_its_registers() {
    for p in 4..=14 {
        let dense = 3 + (1 << p) / 4 * 3;
        assert_eq!(sketch(p, &hashes(0, 20_000)).len(), dense, "precision {p}");
        let most = precision(p).capacity() as u64;
        assert!(sketch(p, &hashes(0, most)).len() <= dense);
        let counted = count(p, &sketch(p, &hashes(0, most)));
        assert!((counted - most as f64).abs() < f64::EPSILON);
    }
}

#[test]
fn the_error_of_the_estimate_is_the_one_that_is_documented() {
    for (p, sets) in [(4, 2_000), (6, 1_000), (8, 400), (12, 30), (14, 8)] {
        let standard = 1.04 / f64::from(1_u32 << p).sqrt();
        for n in [2_u64 << p, 8 << p] {
            let mut squares = 0.0;
            let mut sum = 0.0;
            for salt in 0..sets {
                let error = count(p, &sketch(p, &hashes(salt * 1_000 + n, n))) / n as f64 - 1.0;
                squares += error * error;
                sum += error;
            }
            let sets = sets as f64;
            let (deviation, bias) = ((squares / sets).sqrt(), sum / sets);
            // Both are measured on a sample, and scatter by about this much themselves. With few
            // registers there is a bias on top, and the error is a little larger.
            let (scatter, few) = (standard / sets.sqrt(), f64::from(1_u32 << p).recip());
            assert!(
                deviation < standard * (1.0 + 3.0 * few) + 2.0 * scatter,
                "p {p}, n {n}: {deviation}"
            );
            assert!(
                bias.abs() < 2.0 * few + 3.0 * scatter,
                "p {p}, n {n}: bias {bias}"
            );
        }
    }
}

#[test]
fn bytes_that_are_no_sketch_are_refused_with_a_reason() {
    let good = sketch(4, &hashes(0, 100));
    let damage = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Sketch::read(&bytes, precision(4)).unwrap_err()
    };
    assert_eq!(
        damage(0, 2),
        "a stored sketch has layout 2: this build reads layout 1"
    );
    assert_eq!(
        damage(1, 5),
        "a stored sketch has precision 5, and the config says 4"
    );
    assert_eq!(
        damage(2, 7),
        "a stored sketch is damaged: it has no form that there is"
    );
    assert_eq!(
        damage(3, 63),
        "a stored sketch is damaged: a register is too large"
    );
    let error = |bytes: &[u8]| Sketch::read(bytes, precision(4)).unwrap_err();
    assert_eq!(
        error(&[1, 4]),
        "a stored sketch is damaged: it is too short"
    );
    assert_eq!(
        error(&good[..14]),
        "a stored sketch is damaged: it has another length"
    );
    assert_eq!(
        error(&[1, 4, 0, 1]),
        "a stored sketch is damaged: a hash is cut off"
    );
    let mut twice = sketch(12, &[3, 9]);
    twice.copy_within(3..11, 11);
    let error = Sketch::read(&twice, precision(12)).unwrap_err();
    assert_eq!(
        error,
        "a stored sketch is damaged: its hashes are too many or out of order"
    );
}

/// Hashes of which some have long runs of zeros, and some are equal.
fn some_hashes() -> impl Strategy<Value = Vec<u64>> {
    let hash = prop_oneof![
        0_u64..40,
        any::<u64>(),
        any::<u64>().prop_map(|hash| hash << 50)
    ];
    prop::collection::vec(hash, 0..40)
}

proptest! {
    #[test]
    fn a_sketch_depends_on_the_set_alone(p in 4_u8..7, a in some_hashes(), b in some_hashes(), c in some_hashes()) {
        let whole = sketch(p, &[a.clone(), b.clone(), c.clone()].concat());
        let (a, b, c) = (sketch(p, &a), sketch(p, &b), sketch(p, &c));
        prop_assert_eq!(&merged(p, &[&a, &b, &c]), &whole);
        prop_assert_eq!(&merged(p, &[&merged(p, &[&c, &a]), &b]), &whole);
        prop_assert_eq!(&merged(p, &[&a, &merged(p, &[&b, &c])]), &whole);
        prop_assert_eq!(&merged(p, &[&whole, &a]), &whole);
    }

    #[test]
    fn registers_have_the_largest_rank_of_their_hashes(hashes in some_hashes()) {
        prop_assume!(hashes.iter().collect::<std::collections::BTreeSet<_>>().len() > 1);
        let bytes = sketch(4, &hashes);
        let Sketch::Dense(packed) = Sketch::read(&bytes, precision(4)).unwrap() else {
            return Err(TestCaseError::fail("two hashes are more than are kept"));
        };
        for (index, rank) in (0..).zip(registers(packed)) {
            let of_register = hashes.iter().filter(|&&hash| hash >> 60 == index);
            let ranks = of_register.map(|&hash| (hash << 4).leading_zeros().min(60) as u8 + 1);
            prop_assert_eq!(rank, ranks.max().unwrap_or(0));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), form in 0_u8..2) {
        let _ = Sketch::read(&bytes, precision(4));
        let bytes = [&[1, 4, form], bytes.as_slice()].concat();
        if let Ok(sketch) = Sketch::read(&bytes, precision(4)) {
            let _ = sketch.count(precision(4));
        }
    }
}
