module get

go 1.23

require coffer v0.0.0

replace coffer => ../../../bindings/go
