"""A forecast as a function: its arguments are annotated, its return value becomes the run's result.

Needs the secrets DATABASE_URL (see shop.py for its forms) and API_KEY, which signs the forecast so that
whoever receives it and knows the key can tell that nobody changed it.

    sealrun run -p shop --arg product=TEA-SENCHA --arg days=14 --arg growth=0.05 examples/forecast.py:forecast
"""

import hmac
import json
import os
from collections import defaultdict
from datetime import date, timedelta

from shop import ShopUnavailable, database_url, select

HISTORY = "SELECT sold_on, quantity FROM sales WHERE sku = ? AND sold_on >= ? AND sold_on < ?"
WEEKS = 8


def forecast(product: str = "TEA-ASSAM", days: int = 7, growth: float = 0.0, start: date = date(2026, 7, 1)) -> dict:
    """Expect each day to sell what its weekday sold on average in the eight weeks before `start`.

    Args:
        product: a SKU of the shop.
        days: how many days to forecast, 1 to 366.
        growth: expected change against the past; 0.05 is five percent more.
        start: the first day of the forecast.

    Returns:
        The forecast, and under "signature" the HMAC-SHA256 of the rest: of its JSON, keys sorted, no spaces.
    """
    if not 1 <= days <= 366:
        raise ValueError("days must be between 1 and 366")
    usual = usual_week(product, start)
    expected = []
    for number in range(days):
        day = start + timedelta(days=number)
        expected.append({"day": day.isoformat(), "units": round(usual[day.weekday()] * (1 + growth), 1)})
    print(f"forecast: {product}, {days} days from {start}")
    body = {
        "product": product,
        "growth": growth,
        "expected": expected,
        "total_units": round(sum(day["units"] for day in expected), 1),
    }
    return {**body, "signature": sign(body)}


def usual_week(product, start):
    """Mean units per weekday (0 is Monday) in the weeks before `start`; one without sales counts as zero."""
    earliest = start - timedelta(weeks=WEEKS)
    units = defaultdict(int)
    rows = select(database_url(), HISTORY, product, earliest.isoformat(), start.isoformat())
    if not rows:
        raise ValueError(f"no sales of {product!r} between {earliest} and {start}")
    for day, quantity in rows:
        units[date.fromisoformat(str(day)).weekday()] += quantity
    return {weekday: units[weekday] / WEEKS for weekday in range(7)}


def sign(body):
    key = os.environ.get("API_KEY")
    if not key:
        raise ShopUnavailable("the secret API_KEY is missing; store it: sealrun secret set API_KEY -p PROJECT")
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return "sha256=" + hmac.new(key.encode(), text.encode(), "sha256").hexdigest()
