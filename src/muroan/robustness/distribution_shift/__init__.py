"""Distribution shift: what happens without anybody wanting it."""
