"""What both ends of the queue agree on: the doorbell's name and Celery's settings."""

DOORBELL = "stillhouse.doorbell"
QUEUE = "stillhouse"
DOORBELL_EXPIRES_SECONDS = 30

CELERY_SETTINGS: dict[str, object] = {
    "result_backend": None,
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_default_queue": QUEUE,
    # A doorbell may be lost: the reconciler rings again. So no redelivery, which can loop.
    "task_acks_late": False,
    "task_reject_on_worker_lost": False,
    # No doorbell may wait behind a job of three days.
    "worker_disable_prefetch": True,
    "worker_prefetch_multiplier": 1,
    "worker_pool": "prefork",
    "worker_concurrency": 1,
    "worker_max_tasks_per_child": 100,
    # Deadlines are the database's and the supervisor's.
    "task_time_limit": None,
    "task_soft_time_limit": None,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_enable_remote_control": False,
    "worker_send_task_events": False,
    "worker_hijack_root_logger": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "task_publish_retry": False,
    "broker_transport_options": {
        "visibility_timeout": 60,
        "socket_connect_timeout": 2,
        "socket_timeout": 10,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "max_retries": 2,
        "interval_start": 0,
        "interval_step": 0.2,
        "interval_max": 0.5,
    },
}
