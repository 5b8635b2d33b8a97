# Letters and digits alone: it becomes part of a URL.
resource "random_password" "database" {
  length  = 40
  special = false
}

# Google keeps the name of a deleted database for a week.
resource "random_id" "database" {
  byte_length = 3
}

resource "google_sql_database_instance" "this" {
  name                = "${var.name}-${random_id.database.hex}"
  region              = var.region
  database_version    = "POSTGRES_17"
  deletion_protection = var.is_lasting
  depends_on          = [google_service_networking_connection.services]

  settings {
    tier                        = var.database_machine
    edition                     = "ENTERPRISE"
    disk_size                   = 20
    disk_autoresize             = true
    disk_autoresize_limit       = 100
    deletion_protection_enabled = var.is_lasting

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.this.id
      ssl_mode        = "ENCRYPTED_ONLY"
    }

    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true

      backup_retention_settings {
        retained_backups = 7
      }
    }

    database_flags {
      name  = "log_checkpoints"
      value = "on"
    }

    database_flags {
      name  = "log_connections"
      value = "on"
    }

    database_flags {
      name  = "log_disconnections"
      value = "on"
    }

    database_flags {
      name  = "log_lock_waits"
      value = "on"
    }

    database_flags {
      name  = "log_min_duration_statement"
      value = "1000"
    }
  }
}

resource "google_sql_database" "this" {
  name     = "musicgen"
  instance = google_sql_database_instance.this.name
  # Objects in it belong to the user: both go with the instance.
  deletion_policy = "ABANDON"
}

resource "google_sql_user" "this" {
  name            = "musicgen"
  instance        = google_sql_database_instance.this.name
  password        = random_password.database.result
  deletion_policy = "ABANDON"
}
