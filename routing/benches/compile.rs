//! What reading and compiling costs: ten thousand documents at once, and one changed among them.

#![allow(missing_docs)]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use halftone_routing::{
    document::parse::Format,
    store::{Content, SourceDocument, Store},
};

#[path = "common/documents.rs"]
mod documents;

const RELEASES: usize = 10_000;

fn found(texts: &[(String, String)]) -> Vec<SourceDocument<'_>> {
    texts
        .iter()
        .map(|(source, text)| SourceDocument {
            source,
            content: Content::Text(Format::Json, text.as_bytes()),
        })
        .collect()
}

fn bench(criterion: &mut Criterion) {
    let texts: Vec<(String, String)> = (0..RELEASES)
        .map(|release| (format!("gr-{release}"), documents::document(release)))
        .collect();
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    group.bench_function("10000 documents", |bencher| {
        bencher.iter_batched(
            Store::new,
            |mut store| {
                store.apply(&found(&texts), None);
                store
            },
            BatchSize::PerIteration,
        );
    });
    let mut store = Store::new();
    store.apply(&found(&texts), None);
    let mut texts = texts;
    let mut revision = 3;
    let mut change = |texts: &mut [(String, String)]| {
        let before = format!("\"revision\":{revision}");
        revision += 1;
        let text = &mut texts[4711].1;
        *text = text.replace(&before, &format!("\"revision\":{revision}"));
    };
    group.bench_function("one changed among 10000", |bencher| {
        bencher.iter(|| {
            change(&mut texts);
            let changed = found(&texts[4711..=4711]);
            let applied = store.apply_changes(&changed, [], None).applied;
            assert_eq!(applied.len(), 1, "one document changed");
        });
    });
    group.bench_function("one changed in a reading of 10000", |bencher| {
        bencher.iter(|| {
            change(&mut texts);
            let applied = store.apply(&found(&texts), None).applied;
            assert_eq!(applied.len(), 1, "one document changed");
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
