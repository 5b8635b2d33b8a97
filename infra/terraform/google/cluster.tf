# A zone: its control plane is within the free tier, and a zone without the GPU is no use.
resource "google_container_cluster" "this" {
  name                     = var.name
  location                 = var.zone
  min_master_version       = var.kubernetes_version
  network                  = google_compute_network.this.id
  subnetwork               = google_compute_subnetwork.this.id
  networking_mode          = "VPC_NATIVE"
  datapath_provider        = "ADVANCED_DATAPATH"
  remove_default_node_pool = true
  initial_node_count       = 1
  deletion_protection      = var.is_lasting
  enable_shielded_nodes    = true

  # Flow logs see traffic between pods of one node too.
  enable_intranode_visibility = true

  resource_labels = {
    project = var.name
  }

  release_channel {
    channel = "REGULAR"
  }

  # A pod gets the identity of its ServiceAccount, never the node's.
  workload_identity_config {
    workload_pool = "${var.project}.svc.id.goog"
  }

  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = false
    master_ipv4_cidr_block  = "172.16.0.0/28"
  }

  master_authorized_networks_config {
    dynamic "cidr_blocks" {
      for_each = var.callers

      content {
        cidr_block = cidr_blocks.value
      }
    }
  }

  master_auth {
    client_certificate_config {
      issue_client_certificate = false
    }
  }

  # Envoy Gateway brings Gateway API's resources itself.
  gateway_api_config {
    channel = "CHANNEL_DISABLED"
  }

  # The default pool lives for a minute, yet with these.
  node_config {
    service_account = google_service_account.node.email

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }

    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }

  lifecycle {
    ignore_changes = [min_master_version, node_config]
  }
}
