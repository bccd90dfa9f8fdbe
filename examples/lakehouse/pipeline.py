# /// script
# requires-python = ">=3.10"
# dependencies = ["polars>=1.20,<3", "pyiceberg[glue,pyarrow]>=0.10,<1"]
# ///
"""Raw orders in a bucket, a clean table of them in an Iceberg catalog, and a report of the months.

`raw` is a data source and `warehouse` a catalog. The run is given both by name: no address, no credential stands here.

    sealrun run -p lakehouse --source raw=lake --catalog warehouse=main examples/lakehouse/pipeline.py:pipeline
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:  # for editors: runs have these objects, and no package `executor`
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from executor.inside.handles import IcebergCatalog, S3Source


def pipeline(raw: S3Source, warehouse: IcebergCatalog, top: int = 3) -> dict:
    """Bring the table `sales.orders` up to date with the files of the bucket, and report what it holds.

    Args:
        raw: has `orders-*.csv`.
        warehouse: has the table, or will have it.
        top: so many products are reported.

    Returns:
        What was changed, the revenue of each month, and the products that brought most.
    """
    table, changed = store(clean(read(raw)), warehouse.load())
    report = {**changed, **sums(pl.from_arrow(table.scan().to_arrow()), top)}
    show(report)
    return report


def read(raw: S3Source) -> pl.DataFrame:
    """All files at once, every column as text: what is wrong in them is for `clean` to find."""
    files = pl.scan_csv(raw.path("orders-*.csv"), storage_options=raw.storage_options, infer_schema=False)
    orders = files.collect()
    print(f"read {orders.height:,} lines from {raw.url}")
    return orders


def clean(lines: pl.DataFrame) -> pl.DataFrame:
    """One row for each order that was not cancelled; files overlap, and the later line of an order counts."""
    orders = (
        lines.unique("order_id", keep="last", maintain_order=True)
        .filter(pl.col("status") != "cancelled")
        .select(
            "order_id",
            pl.col("day").str.to_date(),
            pl.col("product").str.strip_chars(),
            pl.col("units").cast(pl.Int64),
            (pl.col("price").cast(pl.Float64) * 100).round().cast(pl.Int64).alias("price_cents"),
        )
    )
    print(f"kept {orders.height:,} orders: the others were cancelled, or stood there twice")
    return orders


def store(orders: pl.DataFrame, catalog: Catalog) -> tuple[Table, dict]:
    """Insert what is new and update what has changed; the table, and the numbers of both."""
    rows = orders.to_arrow()
    catalog.create_namespace_if_not_exists("sales")
    table = catalog.create_table_if_not_exists("sales.orders", schema=rows.schema)
    done = table.upsert(rows, join_cols=["order_id"])
    print(f"stored in sales.orders: {done.rows_inserted:,} new, {done.rows_updated:,} changed")
    return table, {"inserted": done.rows_inserted, "updated": done.rows_updated}


def sums(orders: pl.DataFrame, top: int) -> dict:
    """Months and products, in whole cents."""
    revenue = (pl.col("units") * pl.col("price_cents")).sum().alias("cents")
    months = orders.group_by(pl.col("day").dt.strftime("%Y-%m").alias("month")).agg(revenue).sort("month")
    products = orders.group_by("product").agg(revenue).sort("cents", descending=True).head(top)
    return {
        "orders": orders.height,
        "cents_by_month": dict(months.iter_rows()),
        "cents_by_product": dict(products.iter_rows()),
    }


def show(report: dict) -> None:
    for title in ("month", "product"):
        print(f"\n{title:<16}{'revenue':>12}")
        for name, cents in report[f"cents_by_{title}"].items():
            print(f"{name:<16}{cents / 100:>12,.2f}")
