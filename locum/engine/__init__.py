"""What makes runs move. It meets the services only through rows, signals and streams."""
