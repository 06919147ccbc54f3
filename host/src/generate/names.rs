//! What a shop sells, and who buys there.

use fake::Fake;
use fake::faker::internet::raw::Username;
use fake::locales::{EN, FR_FR, JA_JP};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub(super) const PRODUCT_IDS: [&str; 6] = [
    "product1", "product2", "product3", "product4", "product5", "product6",
];
pub(super) const PRODUCT_NAMES: [&str; 6] = [
    "laptop",
    "mobile",
    "tablet",
    "watch",
    "headphone",
    "speaker",
];
/// One in a hundred products has one of these instead.
pub(super) const FOREIGN_NAMES: [&str; 4] = ["écouteurs", "携帯電話", "Kopfhörer", "mobile 📱"];
pub(super) const CATEGORIES: [&str; 6] = [
    "electronic",
    "fashion",
    "grocery",
    "home",
    "beauty",
    "sports",
];
pub(super) const BRANDS: [&str; 6] = ["apple", "samsung", "oneplus", "mi", "boat", "sony"];
pub(super) const CURRENCIES: [&str; 3] = ["USD", "EUR", "GBP"];
pub(super) const PAYMENTS: [&str; 3] = ["credit_card", "debit_card", "online_transfer"];

/// How many customers there are.
const CUSTOMERS: usize = 5_000;

/// User names, a few of them in other scripts.
pub(super) fn customers(seed: u64) -> Vec<String> {
    // Unlike rand's own generators it gives the same numbers for ever.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let name = |index| match index % 100 {
        0 => Username(FR_FR).fake_with_rng(&mut rng),
        1 => Username(JA_JP).fake_with_rng(&mut rng),
        2 => format!("{}😀", Username(EN).fake_with_rng::<String, _>(&mut rng)),
        _ => Username(EN).fake_with_rng(&mut rng),
    };
    (0..CUSTOMERS).map(name).collect()
}
