"""Where each format of a BLE sensor is found: in which advertisement, in which GATT services.

The numbers: Bluetooth SIG, Assigned Numbers, sections on common data types (0x16 service data, 0xFF manufacturer data),
service, characteristic and member UUIDs, and company identifiers.
"""

# format: (AD type, 16-bit UUID or company id)
ADVERTS = {
    "bthome": (0x16, 0xFCD2),
    "ruuvi": (0xFF, 0x0499),
    "atc": (0x16, 0x181A),
    "eddystone": (0x16, 0xFEAA),
    "ibeacon": (0xFF, 0x004C),
}

# name in "services": (service, decoder: decode_NAME, characteristics)
GATT = {
    "environmental": (0x181A, "ess", (0x2A6E, 0x2A6F, 0x2A6D)),
    "battery": (0x180F, "battery", (0x2A19,)),
    "heart_rate": (0x180D, "heart_rate", (0x2A37,)),
    "automation_io": (0x1815, "automation_io", (0x2A58, 0x2A56)),
}
