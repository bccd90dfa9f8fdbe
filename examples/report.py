"""A sales report: queries the shop's database and leaves report.csv and report.md among the run's outputs.

Needs the secret DATABASE_URL (see shop.py for its forms).

    printf %s sqlite:///examples/shop.db | sealrun secret set DATABASE_URL -p shop
    sealrun run -p shop examples/report.py --since 2026-01-01
"""

import argparse
import csv
import os
import sys
from collections import Counter
from datetime import date
from pathlib import Path

from shop import ShopUnavailable, database_url, select

SALES = """
SELECT sales.sold_on, products.name, sales.quantity, sales.quantity * products.price_cents
FROM sales JOIN products ON products.sku = sales.sku
WHERE sales.sold_on >= ?
ORDER BY sales.sold_on, products.name
"""


def main():
    parser = argparse.ArgumentParser(description="Report the shop's sales by day and product.")
    parser.add_argument("--since", type=date.fromisoformat, required=True, metavar="YYYY-MM-DD")
    since = parser.parse_args().since

    print(f"report: asking the database for sales since {since}")
    try:
        sales = [(str(day), *rest) for day, *rest in select(database_url(), SALES, since.isoformat())]
    except ShopUnavailable as error:
        sys.exit(f"report: {error}")
    days, products = {sale[0] for sale in sales}, {sale[1] for sale in sales}
    print(f"report: {len(sales)} rows, {len(days)} days, {len(products)} products")

    folder = Path(os.environ.get("SEALRUN_OUTPUT_DIR", "."))
    write_table(folder / "report.csv", sales)
    (folder / "report.md").write_text(readable(since, sales), encoding="utf-8")
    print(f"report: revenue {money(sum(sale[3] for sale in sales))}; wrote report.csv and report.md")


def write_table(path, sales):
    """One line per day and product, for a spreadsheet."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["day", "product", "units", "revenue"])
        writer.writerows((day, product, units, f"{cents / 100:.2f}") for day, product, units, cents in sales)


def readable(since, sales):
    """The same in Markdown: totals by product and by month, and the best day."""
    if not sales:
        return f"# Sales since {since}\n\nNothing was sold.\n"
    by_product, by_month, by_day = (total(sales, key) for key in (by_name, by_year_and_month, by_date))
    best = max(by_day, key=by_day.get)
    lines = [f"# Sales since {since}", "", f"Revenue: {money(sum(by_product.values()))}"]
    lines += [f"Best day: {best}, {money(by_day[best])}", ""]
    lines += table("Product", by_product.most_common())
    lines += table("Month", sorted(by_month.items()))
    return "\n".join(lines).rstrip() + "\n"


def total(sales, key):
    sums = Counter()
    for sale in sales:
        sums[key(sale)] += sale[3]
    return sums


def by_date(sale):
    return sale[0]


def by_year_and_month(sale):
    return sale[0][:7]


def by_name(sale):
    return sale[1]


def table(heading, rows):
    width = max(len(name) for name, _ in [(heading, 0), *rows])
    lines = [f"| {heading:<{width}} | {'Revenue':>12} |", f"| {'-' * width} | {'-' * 11}: |"]
    lines += [f"| {name:<{width}} | {money(cents):>12} |" for name, cents in rows]
    return [*lines, ""]


def money(cents):
    return f"{cents // 100:,}.{cents % 100:02d}"


if __name__ == "__main__":
    main()
