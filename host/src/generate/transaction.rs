//! One sale: its values, which a test may check against, and its JSON as a producer writes it.

use chrono::{DateTime, Datelike, NaiveDate, Timelike, Utc};

use super::Settings;
use super::draw::Draw;
use super::names;
use crate::schema::DataType;

/// µs in a day.
const DAY: u64 = 86_400_000_000;
/// In the order in which they stand in a record.
pub(super) const FIELDS: [Field; 12] = [
    Field::TransactionId,
    Field::ProductId,
    Field::ProductName,
    Field::ProductCategory,
    Field::ProductPrice,
    Field::ProductQuantity,
    Field::ProductBrand,
    Field::Currency,
    Field::CustomerId,
    Field::TransactionDate,
    Field::PaymentMethod,
    Field::TotalAmount,
];

/// A sale, in the values that a reader has to get out of its JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction<'g> {
    /// a UUID, different in every record of a seed
    pub transaction_id: String,
    /// `productId`
    pub product_id: &'static str,
    /// `productName`
    pub product_name: &'static str,
    /// `productCategory`
    pub product_category: &'static str,
    /// `productPrice` in hundredths
    pub product_price_cents: i64,
    /// `productQuantity`, 1 to 10
    pub product_quantity: i64,
    /// `productBrand`
    pub product_brand: &'static str,
    /// `USD`, `EUR` or `GBP`
    pub currency: &'static str,
    /// `customerId`
    pub customer_id: &'g str,
    /// `transactionDate`, µs since 1970 UTC
    pub transaction_date_micros: i64,
    /// `paymentMethod`
    pub payment_method: &'static str,
    /// `totalAmount` in hundredths, rounded: the JSON has the product of floats, with its tail
    pub total_amount_cents: i64,
    /// how the JSON has its date
    time_form: TimeForm,
    /// whether the JSON has `\uXXXX` for what is not ASCII, as Python writes it
    ascii: bool,
}

/// A field of the JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    TransactionId,
    ProductId,
    ProductName,
    ProductCategory,
    ProductPrice,
    ProductQuantity,
    ProductBrand,
    Currency,
    CustomerId,
    TransactionDate,
    PaymentMethod,
    TotalAmount,
}

/// Ways to write a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeForm {
    /// in UTC, without saying so
    Plain,
    /// with `Z`
    Zulu,
    /// local, with its offset from UTC in minutes: `+02:00`
    Offset(i64),
    /// local, with its offset in minutes: `+0200`
    ShortOffset(i64),
    /// milliseconds since 1970
    Millis,
}

impl<'g> Transaction<'g> {
    pub(super) fn draw(draw: &mut Draw, settings: &Settings, customers: &'g [String]) -> Self {
        let transaction_id = uuid(draw);
        let product_name = if draw.chance(0.01) {
            *draw.pick(&names::FOREIGN_NAMES)
        } else {
            *draw.pick(&names::PRODUCT_NAMES)
        };
        let product_price_cents = 1_000 + draw.below(99_001).cast_signed();
        let product_quantity = 1 + draw.below(10).cast_signed();
        let time_form = TimeForm::draw(draw);
        let before_end = 1 + draw
            .below(u64::from(settings.days.max(1)) * DAY)
            .cast_signed();
        let moment = start_of(settings.end) - before_end;
        let precision = if time_form == TimeForm::Millis {
            1_000
        } else {
            1
        };
        Self {
            transaction_id,
            product_id: *draw.pick(&names::PRODUCT_IDS),
            product_name,
            product_category: *draw.pick(&names::CATEGORIES),
            product_price_cents,
            product_quantity,
            product_brand: *draw.pick(&names::BRANDS),
            currency: *draw.pick(&names::CURRENCIES),
            customer_id: draw.pick(customers).as_str(),
            transaction_date_micros: moment - moment.rem_euclid(precision),
            payment_method: *draw.pick(&names::PAYMENTS),
            total_amount_cents: product_price_cents * product_quantity,
            time_form,
            ascii: draw.chance(0.5),
        }
    }

    /// Appends the field's value as JSON.
    pub(super) fn write_value(&self, field: Field, into: &mut Vec<u8>) {
        match field {
            Field::TransactionId => self.write_text(&self.transaction_id, into),
            Field::ProductId => self.write_text(self.product_id, into),
            Field::ProductName => self.write_text(self.product_name, into),
            Field::ProductCategory => self.write_text(self.product_category, into),
            Field::ProductPrice => write(into, format_args!("{:?}", self.price())),
            Field::ProductQuantity => write(into, format_args!("{}", self.product_quantity)),
            Field::ProductBrand => self.write_text(self.product_brand, into),
            Field::Currency => self.write_text(self.currency, into),
            Field::CustomerId => self.write_text(self.customer_id, into),
            Field::TransactionDate => self.write_date(into),
            Field::PaymentMethod => self.write_text(self.payment_method, into),
            Field::TotalAmount => {
                // As Python computes and prints it: 2961.8999999999996.
                let total = self.price() * self.product_quantity as f64;
                write(into, format_args!("{total:?}"));
            }
        }
    }

    fn price(&self) -> f64 {
        self.product_price_cents as f64 / 100.0
    }

    fn write_text(&self, text: &str, into: &mut Vec<u8>) {
        into.push(b'"');
        for character in text.chars() {
            match character {
                '"' | '\\' => into.extend([b'\\', character as u8]),
                ' '..='~' => into.push(character as u8),
                other if self.ascii || other < ' ' => {
                    for unit in other.encode_utf16(&mut [0; 2]) {
                        write(into, format_args!("\\u{unit:04x}"));
                    }
                }
                other => into.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        into.push(b'"');
    }

    fn write_date(&self, into: &mut Vec<u8>) {
        let micros = self.transaction_date_micros;
        match self.time_form {
            TimeForm::Millis => write(into, format_args!("{}", micros / 1_000)),
            TimeForm::Plain => write_moment(micros, "", into),
            TimeForm::Zulu => write_moment(micros, "Z", into),
            TimeForm::Offset(minutes) | TimeForm::ShortOffset(minutes) => {
                let sign = if minutes < 0 { '-' } else { '+' };
                let colon = match self.time_form {
                    TimeForm::Offset(_) => ":",
                    _ => "",
                };
                let (hours, rest) = (minutes.abs() / 60, minutes.abs() % 60);
                let zone = format!("{sign}{hours:02}{colon}{rest:02}");
                write_moment(micros + minutes * 60_000_000, &zone, into);
            }
        }
    }
}

impl TimeForm {
    /// Mostly as Python writes it; in a few records of a hundred something else.
    fn draw(draw: &mut Draw) -> Self {
        const OFFSETS: [i64; 6] = [60, 120, 330, -480, -210, 840];
        match draw.below(100) {
            0..4 => Self::Zulu,
            4..8 => Self::Offset(*draw.pick(&OFFSETS)),
            8..10 => Self::ShortOffset(*draw.pick(&OFFSETS)),
            10..14 => Self::Millis,
            _ => Self::Plain,
        }
    }
}

/// The names of the fields, in the order in which they stand in a record.
pub(crate) fn field_names() -> impl Iterator<Item = &'static str> {
    FIELDS.into_iter().map(Field::name)
}

/// Whether a column of this type can be made of the field of this name; `None` when there is none.
pub(crate) fn field_suits(name: &str, ty: DataType) -> Option<bool> {
    let field = FIELDS.into_iter().find(|field| field.name() == name)?;
    Some(match field {
        Field::ProductPrice | Field::TotalAmount => {
            matches!(ty, DataType::Decimal(_) | DataType::Float64)
        }
        Field::ProductQuantity => {
            matches!(
                ty,
                DataType::Int64 | DataType::Decimal(_) | DataType::Float64
            )
        }
        Field::TransactionDate => ty == DataType::Timestamp,
        Field::TransactionId
        | Field::ProductId
        | Field::ProductName
        | Field::ProductCategory
        | Field::ProductBrand
        | Field::Currency
        | Field::CustomerId
        | Field::PaymentMethod => ty == DataType::Utf8,
    })
}

impl Field {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TransactionId => "transactionId",
            Self::ProductId => "productId",
            Self::ProductName => "productName",
            Self::ProductCategory => "productCategory",
            Self::ProductPrice => "productPrice",
            Self::ProductQuantity => "productQuantity",
            Self::ProductBrand => "productBrand",
            Self::Currency => "currency",
            Self::CustomerId => "customerId",
            Self::TransactionDate => "transactionDate",
            Self::PaymentMethod => "paymentMethod",
            Self::TotalAmount => "totalAmount",
        }
    }
}

/// A version 4 UUID. All bits of the first number are in it, so that it differs where that does.
fn uuid(draw: &mut Draw) -> String {
    let (first, second) = (draw.next(), draw.next());
    let high = first & !0xf000 | 0x4000;
    let displaced = first >> 12 & 0xf;
    let low = second & (u64::MAX >> 2) & !0xf | 1 << 63 | displaced;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

fn start_of(day: NaiveDate) -> i64 {
    day.and_time(chrono::NaiveTime::MIN)
        .and_utc()
        .timestamp_micros()
}

/// ISO 8601 as Python's `isoformat` has it: no fraction where it is 0.
fn write_moment(micros: i64, zone: &str, into: &mut Vec<u8>) {
    let moment: DateTime<Utc> = DateTime::from_timestamp_micros(micros).unwrap_or_default();
    let (year, month, day) = (moment.year(), moment.month(), moment.day());
    let (hour, minute, second) = (moment.hour(), moment.minute(), moment.second());
    write(
        into,
        format_args!("\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"),
    );
    let fraction = micros.rem_euclid(1_000_000);
    if fraction != 0 {
        write(into, format_args!(".{fraction:06}"));
    }
    write(into, format_args!("{zone}\""));
}

/// Appends formatted text.
fn write(into: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    into.write_fmt(text).expect("a vector takes every write");
}
