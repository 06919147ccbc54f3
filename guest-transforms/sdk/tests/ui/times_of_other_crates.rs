use wasmill_guest::Input;

struct NaiveDate;
struct DateTime;

#[derive(Input)]
struct Sale {
    day: NaiveDate,
    time: DateTime,
    letter: char,
}

fn main() {}
