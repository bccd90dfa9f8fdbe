"""The doorbell: the Celery application, the embedded broker, notices of cancelled runs."""
