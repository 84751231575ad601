"""Windows that cannot see the future, metrics, intervals, backtests."""
