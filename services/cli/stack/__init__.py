"""The whole product on one machine: five services and Triton under one supervisor."""
