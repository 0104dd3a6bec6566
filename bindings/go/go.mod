module coffer

go 1.23
