# /// script
# requires-python = ">=3.10"
# dependencies = ["moto[glue,s3]>=5.1,<6", "flask-cors>=5"]
# ///
"""An object store and a catalog on this machine: moto's S3 and Glue, over HTTP on 127.0.0.1; prepare.py starts it.

It has a bucket `raw` with three months of made-up orders, and an empty bucket `warehouse`. All of it is in memory, and
gone when the server ends: after an hour by itself, sooner by `kill`.
"""

import csv
import io
import json
import logging
import os
import random
import signal
import threading
from datetime import date, timedelta

import boto3
from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

REGION = "eu-central-1"
LASTS = 60 * 60  # seconds
PRICES = {"Assam": 7.40, "Darjeeling": 11.90, "Lapsang": 9.20, "Oolong": 13.50, "Sencha": 8.80}


def main():
    signal.alarm(LASTS)  # nothing handles it, so it ends this process
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not a line for each request
    moto = DomainDispatcherApplication(create_backend_app)

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/pid":
            return Response(str(os.getpid()))(environ, start_response)
        return moto(environ, start_response)

    server = make_server("127.0.0.1", 0, application, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    fill(endpoint)
    print(json.dumps({"endpoint": endpoint, "pid": os.getpid()}), flush=True)
    while True:
        signal.pause()


def fill(endpoint):
    """Make the buckets, and a file of orders for each month."""
    s3 = boto3.client(
        "s3",
        REGION,
        endpoint_url=endpoint,
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(proxies={}),  # it is this machine, whatever HTTP_PROXY says
    )
    for bucket in ("raw", "warehouse"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    lines = list(orders())
    for month in sorted({line["day"][:7] for line in lines}):
        text = io.StringIO()
        file = csv.DictWriter(text, lines[0])
        file.writeheader()
        # A file begins with the last days of the month before, as exports do that are late.
        file.writerows(line for line in lines if line["day"][:7] == month or is_day_before(line["day"], month))
        s3.put_object(Bucket="raw", Key=f"shop/orders-{month}.csv", Body=text.getvalue().encode())


def orders():
    """Some twelve a day from April to June, always the same ones; one in twenty is cancelled."""
    chance = random.Random(2026)
    number = 0
    day = date(2026, 4, 1)
    while day < date(2026, 7, 1):
        for _ in range(chance.randint(8, 16)):
            number += 1
            product = chance.choice(sorted(PRICES))
            yield {
                "order_id": f"A{number:05}",
                "day": day.isoformat(),
                "product": product if chance.random() > 0.1 else f" {product} ",
                "units": chance.randint(1, 4),
                "price": f"{PRICES[product]:.2f}",
                "status": "cancelled" if chance.random() < 0.05 else "paid",
            }
        day += timedelta(days=1)


def is_day_before(day, month):
    return (date.fromisoformat(day) + timedelta(days=2)).isoformat()[:7] == month


if __name__ == "__main__":
    main()
