//! The generated code allocates a number of times a batch, and not once a row.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use wasmill_guest::{
    Aggregate, AggregateRows, AnyDecimal, Batch, Bind, Changes, Column, ColumnAggregate,
    ColumnTransform, DataType, Date, Decimal, Field, Folded, Input, NoConfig, Output, Reject,
    State, Sum, Timestamp, Transform, TransformRows, Values, VarBytes, reject,
};

/// Counts the calls of a thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed to the system's allocator as it is; to count touches no memory of it.
#[expect(unsafe_code, reason = "there is no other way to see an allocation")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller guarantees.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller guarantees.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller guarantees.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `call` allocates.
fn allocations<T>(call: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATIONS.get();
    let result = call();
    (ALLOCATIONS.get() - before, result)
}

/// A field of every type that is borrowed or copied.
#[derive(Input)]
struct Row<'a> {
    flag: bool,
    whole: i64,
    float: f64,
    money: Decimal<2>,
    ratio: AnyDecimal,
    text: &'a str,
    bytes: &'a [u8],
    time: Option<Timestamp>,
    day: Date,
    note: Option<&'a str>,
}

/// A field of every type that is not of the guest's own making.
#[derive(Output)]
struct Made {
    flag2: bool,
    float2: f64,
    money2: Decimal<4>,
    ratio2: AnyDecimal,
    length: i64,
    time2: Option<Timestamp>,
    day2: Date,
}

fn make(row: &Row<'_>) -> Option<Made> {
    let length = row.text.len() + row.bytes.len() + row.note.map_or(0, str::len);
    Some(Made {
        flag2: !row.flag,
        float2: row.float + 1.0,
        money2: row.money.checked_mul(row.money)?,
        ratio2: row.ratio.checked_add(row.ratio)?,
        length: length as i64 + row.whole,
        time2: row.time,
        day2: row.day,
    })
}

struct Map;

impl Transform for Map {
    type Config = NoConfig;
    type Input<'a> = Row<'a>;
    type Output = Made;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Self)
    }

    fn bind(&mut self, columns: &mut Bind<'_>) -> Result<(), String> {
        columns.output_scale("ratio2", 3);
        Ok(())
    }

    fn apply(&self, row: Row<'_>) -> Result<Made, Reject> {
        make(&row).ok_or_else(|| reject("too large"))
    }
}

/// The same, twice a row.
struct Twice;

impl Transform for Twice {
    type Config = NoConfig;
    type Input<'a> = Row<'a>;
    type Output = [Made; 2];

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Self)
    }

    fn bind(&mut self, columns: &mut Bind<'_>) -> Result<(), String> {
        Map.bind(columns)
    }

    fn apply(&self, row: Row<'_>) -> Result<[Made; 2], Reject> {
        match (make(&row), make(&row)) {
            (Some(one), Some(two)) => Ok([one, two]),
            _ => Err(reject("too large")),
        }
    }
}

struct Fold;

#[derive(State, Default)]
struct Kept {
    sum: Sum<AnyDecimal>,
    most: Decimal<2>,
    last: Option<Timestamp>,
    count: i64,
}

impl Aggregate for Fold {
    type Config = NoConfig;
    type Input<'a> = Row<'a>;
    type State = Kept;
    type Output = Kept;

    const STATE_VERSION: u32 = 1;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Self)
    }

    fn bind(&mut self, columns: &mut Bind<'_>) -> Result<(), String> {
        columns.state_scale("sum", 3).output_scale("sum", 3);
        Ok(())
    }

    fn add(&self, kept: &mut Kept, row: Row<'_>) -> Result<(), Reject> {
        kept.sum.add(row.ratio);
        kept.most = kept.most.max(row.money);
        kept.last = kept.last.max(row.time);
        kept.count += row.text.len() as i64;
        Ok(())
    }

    fn merge(&self, kept: &mut Kept, other: &Kept) -> Result<(), String> {
        kept.sum.merge(&other.sum);
        kept.most = kept.most.max(other.most);
        kept.last = kept.last.max(other.last);
        kept.count += other.count;
        Ok(())
    }

    fn finish(&self, kept: &Kept) -> Result<Kept, String> {
        let Kept {
            sum,
            most,
            last,
            count,
        } = *kept;
        Ok(Kept {
            sum,
            most,
            last,
            count,
        })
    }
}

fn input() -> Vec<Field> {
    vec![
        Field::new("flag", DataType::Boolean),
        Field::new("whole", DataType::Int64),
        Field::new("float", DataType::Float64),
        Field::new("money", DataType::Decimal(2)),
        Field::new("ratio", DataType::Decimal(3)),
        Field::new("text", DataType::Utf8),
        Field::new("bytes", DataType::Binary),
        Field::nullable("time", DataType::Timestamp),
        Field::new("day", DataType::Date),
        Field::nullable("note", DataType::Utf8),
    ]
}

fn batch(rows: usize) -> Batch {
    let texts: VarBytes = (0..rows)
        .map(|row| ["", "a", "äö", "text"][row % 4])
        .collect();
    let validity = Some((0..rows).map(|row| u8::from(row % 3 > 0)).collect());
    let numbers = || Values::I64s((0..rows as i64).collect());
    let columns = vec![
        Values::Bools(vec![1; rows]),
        numbers(),
        Values::F64s(vec![0.5; rows]),
        numbers(),
        numbers(),
        Values::Bytes(texts.clone()),
        Values::Bytes(texts.clone()),
        numbers(),
        Values::I32s(vec![1; rows]),
        Values::Bytes(texts),
    ];
    let mut columns: Vec<_> = columns.into_iter().map(Column::new).collect();
    columns[7].validity.clone_from(&validity);
    columns[9].validity = validity;
    Batch {
        rows: rows as u32,
        columns,
    }
}

/// In a batch of so many rows; all of them come out, `times` times.
fn of_a_transform<T: Transform<Config = NoConfig>>(rows: usize, times: usize) -> usize {
    let configured = TransformRows::<T>::configure(&input(), NoConfig {});
    let (guest, _) = configured.expect("the input suits it");
    let batch = batch(rows);
    let (allocations, changes) = allocations(|| guest.apply(batch));
    let Changes {
        columns,
        rejections,
        ..
    } = changes.expect("every row can be mapped");
    assert_eq!(columns[0].values.len(), rows * times);
    assert!(rejections.is_empty());
    allocations
}

#[test]
fn a_transform_allocates_as_often_for_many_rows_as_for_few() {
    let few = of_a_transform::<Map>(10, 1);
    assert_eq!(of_a_transform::<Map>(10_000, 1), few);
    assert!(few > 0, "the counter counts");
}

#[test]
fn rows_out_of_one_allocate_as_a_vector_grows() {
    // Room is made for a row each; of the second half it is doubled once a column.
    let few = of_a_transform::<Twice>(10, 2);
    assert_eq!(of_a_transform::<Twice>(10_000, 2), few);
}

#[test]
fn an_aggregate_allocates_as_often_for_many_rows_as_for_few() {
    let (guest, _) = AggregateRows::<Fold>::configure(&input(), NoConfig {}).unwrap();
    let fold = |rows: usize| {
        let groups: Vec<u32> = (0..rows as u32).map(|row| row % 5).collect();
        let batch = batch(rows);
        let (count, folded) = allocations(|| guest.fold(&groups, 5, batch));
        let Folded::States(states) = folded.unwrap() else {
            panic!("every row can be folded");
        };
        (count, states)
    };
    let ((few, states), (many, _)) = (fold(10), fold(10_000));
    assert_eq!(many, few);
    assert!(few > 0, "the counter counts");

    let merge = |times: usize| {
        let groups: Vec<u32> = (0..states.rows * times as u32).map(|row| row % 5).collect();
        let parts = repeat(&states, times);
        allocations(|| guest.merge(&groups, 5, parts).unwrap()).0
    };
    assert_eq!(merge(2_000), merge(2));
    let finish = |times: usize| {
        let states = repeat(&states, times);
        allocations(|| guest.finish(states).unwrap()).0
    };
    assert_eq!(finish(2_000), finish(2));
}

/// So many copies of a batch without text, one behind the other.
fn repeat(batch: &Batch, times: usize) -> Batch {
    let column = |column: &Column| Column {
        values: match &column.values {
            Values::I64s(values) => Values::I64s(values.repeat(times)),
            other => panic!("{other:?}"),
        },
        validity: column
            .validity
            .as_ref()
            .map(|validity| validity.repeat(times)),
    };
    Batch {
        rows: batch.rows * times as u32,
        columns: batch.columns.iter().map(column).collect(),
    }
}
