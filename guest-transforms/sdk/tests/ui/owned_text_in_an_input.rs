use wasmill_guest::Input;

#[derive(Input)]
struct Sale {
    currency: String,
    note: Option<String>,
    payload: Vec<u8>,
}

fn main() {}
